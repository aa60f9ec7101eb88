"""The process of the benchmark in which a model runs in torch; see `kdcompress.bench.worker`."""

from kdcompress.bench.candidate import Candidate
from kdcompress.bench.spec import ModelSpec
from kdcompress.bench.worker import serve
from kdcompress.teachers.candidate import TeacherCandidate
from kdcompress.teachers.open import resolve_teacher


def build(spec: ModelSpec) -> Candidate:
    """Make the candidate of anything that names a teacher."""
    return TeacherCandidate(
        resolve_teacher(spec.path), spec.provider, spec.threads, spec.name, spec.precision
    )


if __name__ == "__main__":
    serve(build)
