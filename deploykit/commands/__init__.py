"""The commands, a file each.

bench.py       ``deploykit bench``: latency and throughput, and what ran where
build.py       ``deploykit build``: an engine ahead of time, for machines that should not build one
               themselves
completion.py  ``deploykit completion``: the script that lets a shell complete commands, options and names
cpp.py         ``deploykit cpp``: where the C++ runtime is, for CMake and compilers
demo.py        ``deploykit demo``: the whole way of a real trained model, on this machine
doctor.py      ``deploykit doctor``: what runs here, and the line that would fix what does not
eval/         ``deploykit eval``: accuracy on labelled pictures, and what differs between models
export.py      ``deploykit export``: a checkpoint becomes one proven ONNX file
inspect.py     ``deploykit inspect``: what a checkpoint or a model file holds
package.py     ``deploykit package``: folders that Triton, Ray Serve, KServe and Docker take as they are
predict.py     ``deploykit predict``: answers for images, printed, drawn or as JSON
quantize/      ``deploykit quantize``
record.py      ``deploykit record``: the file that a training process records golden answers with, and what
               it wrote
selftest.py    ``deploykit selftest``: the golden cases of a model file on engines of this machine
serve.py       ``deploykit serve``: models behind HTTP and gRPC
shared/        What the commands share: their line, their options and their words
verify.py      ``deploykit verify``: the proof again, on the user's own images
"""
