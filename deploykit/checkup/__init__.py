"""What this machine can run, and the one line that would fix what it cannot.

diagnosis.py  From the facts of a machine to what runs, what does not, and the line that would fix it
engines.py    Which engines run on a machine, and the line that would make the others run
families.py   Families of other packages that cannot be loaded
finding.py    One thing that the doctor looked at
hardware.py   Accelerators that are in the machine, whether or not their drivers are
machine.py    Everything that the diagnosis is made from, collected in one record
options.py    What the doctor is asked
probe.py      Try an engine for real: ``python -m deploykit.checkup.probe NAME`` runs a tiny model on it
tiny.py       The smallest image model, as bytes: enough to make an engine prove that it runs
"""
