"""How start, batches and resumption grow with a packed corpus: python benchmark_packed.py 4 5 6 7

For 10⁴, 10⁵, … utterances of 2 to 18 s, which are indexes without audio: CPU seconds and peak memory from
the imports to the first batch, CPU milliseconds of a batch at each world size, and CPU seconds to the
last block of an epoch. Each size is measured in a process of its own. docs/scale.md has the figures.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHARD, BYTES = 500, 320_512  # utterances of a shard, bytes of each
WORLDS, BATCHES = (1, 8, 64), 200


def imitate(out: Path, utterances: int) -> None:
    """Write the indexes of a packed corpus; its shards of audio are holes."""
    rng, shards = random.Random(0), []
    for folder in ("index", "shar"):
        (out / folder).mkdir(parents=True)
    for number in range(utterances // SHARD):
        name, samples = f"{number:06}", [int(16_000 * rng.uniform(2, 18)) for _ in range(SHARD)]
        head = {"schema": 1, "source": "", "bytes": SHARD * BYTES, "count": SHARD, "samples": sum(samples)}
        rows = [[f"{number}-{row}", row * BYTES + 512, s, s, "0" * 16] for row, s in enumerate(samples)]
        lines = "".join(json.dumps(line) + "\n" for line in (head, *rows))
        (out / "index" / f"{name}.jsonl").write_text(lines)
        with (out / "shar" / f"recording.{name}.tar").open("wb") as file:
            file.truncate(SHARD * BYTES)
        shards.append({"name": name, "count": SHARD, "samples": sum(samples), "digest": "0" * 16})
    seconds = sum(shard["samples"] for shard in shards) / 16_000
    described = {"schema": 1, "count": utterances, "seconds": seconds, "shards": shards}
    (out / "corpus.json").write_text(json.dumps(described))


def measure(corpus: Path) -> dict[str, Any]:
    """Return the figures of one corpus."""
    from kdcompress.config.recipe import Recipe
    from kdcompress.distill.data.shard_batches import ShardBatches
    from kdcompress.distill.data.training_data import load_training_data
    from kdcompress.distill.run import Run

    recipe = Recipe.model_validate({"data": {"audio": str(corpus), "noise_share": 0}})
    begin = time.process_time()
    data = load_training_data(recipe, None, Run(corpus / "run"), with_texts=False)
    lane = ShardBatches(data.training, recipe.data, 0, 1, 0, 1).sampled(0)
    next(lane)
    found: dict[str, Any] = {
        "start_cpu_seconds": time.process_time() - begin,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for world in WORLDS:
        lane = ShardBatches(data.training, recipe.data, 0, 1, 0, world).sampled(0)
        next(lane)
        begin = time.process_time()
        for _ in range(BATCHES):
            next(lane)
        found[f"ms_of_a_batch_of_{world}"] = 1e3 * (time.process_time() - begin) / BATCHES
    batches = ShardBatches(data.training, recipe.data, 0, 1, 0, 1)
    begin = time.process_time()
    next(batches.sampled(0, (0, len(batches.blocks(0, 0)) - 1, 0)))
    return found | {"resume_cpu_seconds": time.process_time() - begin}


def main() -> None:
    """Measure each size, one JSON line each."""
    if Path(sys.argv[1]).is_dir():
        sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))))
        return
    for power in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            imitate(Path(folder) / "corpus", 10**power)
            command = [sys.executable, __file__, f"{folder}/corpus"]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sys.stdout.write(json.dumps({"utterances": 10**power, **json.loads(found)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
