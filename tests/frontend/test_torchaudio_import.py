"""torchaudio must be usable beside whatever torch is installed."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from kdcompress.frontend.torchaudio_import import _fail_if_no_align, load_torchaudio

pytestmark = pytest.mark.slow


def run_program(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_the_python_part_works() -> None:
    torchaudio = load_torchaudio()
    assert load_torchaudio() is torchaudio
    resampled = torchaudio.functional.resample(torch.zeros(1, 8000), 8000, 16_000)
    assert resampled.shape == (1, 16_000)
    conformer = torchaudio.models.Conformer(16, 2, 32, 1, 3)
    output, lengths = conformer(torch.zeros(1, 5, 16), torch.tensor([5]))
    assert output.shape == (1, 5, 16)
    assert lengths.tolist() == [5]


def test_a_plain_import_that_failed_before_does_no_harm() -> None:
    # As in a fresh program where another library tried first.
    result = run_program("""
        import warnings
        warnings.simplefilter("error")
        try:
            import torchaudio
        except (OSError, ImportError, RuntimeError):
            pass
        from kdcompress.frontend.torchaudio_import import load_torchaudio
        torchaudio = load_torchaudio()
        import torchaudio.compliance.kaldi, torch
        print(tuple(torchaudio.compliance.kaldi.fbank(torch.ones(1, 16000), num_mel_bins=80).shape))
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "(98, 80)"


@pytest.mark.parametrize(
    "raised",
    [
        "OSError('no libc10_cuda.so')",
        "RuntimeError('CUDA 13.2 is not 13.0')",
        "ImportError('no such symbol')",
    ],
)
def test_an_extension_that_does_not_fit_is_left_out(tmp_path: Path, raised: str) -> None:
    package = tmp_path / "torchaudio"
    (package / "_extension").mkdir(parents=True)
    (package / "_extension" / "__init__.py").write_text(f"raise {raised}\n")
    (package / "models.py").write_text("from torchaudio._extension import fail_if_no_align\n")
    (package / "__init__.py").write_text("from . import models\nfrom . import _extension\n")
    result = run_program(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from kdcompress.frontend.torchaudio_import import load_torchaudio
        torchaudio = load_torchaudio()
        assert torchaudio.__file__.startswith({str(tmp_path)!r})
        print(torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE)
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "False"


def test_a_package_that_is_broken_elsewhere_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise RuntimeError('two\\nlines')\n")
    result = run_program(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from kdcompress.errors import TeacherError
        from kdcompress.frontend.torchaudio_import import load_torchaudio
        try:
            load_torchaudio()
        except TeacherError as error:
            print(error)
        print([name for name in sys.modules if name.startswith("torchaudio")])
    """)
    assert result.stdout.splitlines() == [
        "torchaudio cannot be imported beside the installed torch: two lines; "
        "install the torchaudio made for it",
        "[]",
    ]


def test_a_missing_torchaudio_names_the_extra() -> None:
    # -S -E: an interpreter without site-packages.
    result = run_program(
        """
        from kdcompress.errors import MissingExtra
        from kdcompress.frontend.torchaudio_import import load_torchaudio
        try:
            load_torchaudio()
        except MissingExtra as error:
            print(error)
        """,
        "-S",
        "-E",
    )
    assert "pip install 'kdcompress[train]'" in result.stdout, result.stderr


def test_what_needs_the_extension_says_so() -> None:
    @_fail_if_no_align
    def forced_align() -> None:
        """Never runs."""

    with pytest.raises(RuntimeError, match="forced_align needs torchaudio's compiled extension"):
        forced_align()
