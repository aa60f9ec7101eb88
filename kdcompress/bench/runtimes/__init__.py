"""The runtimes that models are measured in.

One file and one line each. A module has `build(spec)`, which imports the runtime's library and returns a
`Candidate`; unless it is for models of torch, also `refusal(model)`, which says why a model cannot run there,
or None; and `LIBRARY`, the module that must be installed, if the extra `runtimes` has it.
"""

RUNTIMES = {
    "kdcompress": "kdcompress.bench.runtimes.bundle",
    "sherpa-onnx": "kdcompress.bench.runtimes.sherpa",
    "onnx-asr": "kdcompress.bench.runtimes.onnx_asr",
    "torch": "kdcompress.teachers.candidate",  # of the torch half: imported in the worker only
}
