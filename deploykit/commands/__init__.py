"""The commands, a file each, and how they read their line.

bench.py       ``deploykit bench``: latency and throughput, and what ran where
build.py       ``deploykit build``: an engine ahead of time, for machines that should not build one
               themselves
completing.py  What the shell is offered for options and arguments: names that exist, without an engine or
               torch
completion.py  ``deploykit completion``: the script that lets a shell complete commands, options and names
cpp.py         ``deploykit cpp``: where the C++ runtime is, for CMake and compilers
demo.py        ``deploykit demo``: the whole way of a real trained model, on this machine
describe.py    Parts of the contract in words, as several commands print them
doctor.py      ``deploykit doctor``: what runs here, and the line that would fix what does not
export.py      ``deploykit export``: a checkpoint becomes one proven ONNX file
inspect.py     ``deploykit inspect``: what a checkpoint or a model file holds
line.py        How every command reads its line: nothing that was typed is dropped in silence
options.py     Options that several commands share, and the callbacks that check them
package.py     ``deploykit package``: folders that Triton, Ray Serve, KServe and Docker take as they are
predict.py     ``deploykit predict``: answers for images, printed, drawn or as JSON
record.py      ``deploykit record``: the file that a training process records golden answers with, and what
               it wrote
serve.py       ``deploykit serve``: models behind HTTP and gRPC
verify.py      ``deploykit verify``: the proof again, on the user's own images
"""
