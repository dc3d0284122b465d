"""Instructions that the kernels take for a position, counted in their machine code; this needs no GPU.

`python -m benchmarks.gpu.instructions` counts them for every usual kernel, writes `instructions.json` beside this file,
and prints the table of docs/gpu.md. A count is that of the shortest way round the loop in which a kernel spends its
time, divided by the positions that a thread takes in it. Longer ways are for what is rare: letters whose squares leave
single precision, and the end of a sequence.
"""

import heapq
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from gradcorr_fast.kernels import cuda

ARCHITECTURE = 90
TABLE = Path(__file__).parent / "instructions.json"

_LABEL = re.compile(r"^(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.+?)\s*;")
_JUMP = re.compile(r"\bBRA\b.*`\((\.L_x_\d+)\)")
_END = re.compile(r"^(EXIT|RET|BRA(\.U)? `)")


class Code(NamedTuple):
    """Instructions in their order, and the numbers of those that labels stand before."""

    instructions: list[str]
    labels: dict[str, int]

    @classmethod
    def parse(cls, text: str) -> "Code":
        """From what nvdisasm prints."""
        code = cls([], {})
        for line in text.splitlines():
            if label := _LABEL.match(line):
                code.labels[label[1]] = len(code.instructions)
            elif instruction := _INSTRUCTION.match(line):
                code.instructions.append(instruction[1])
        return code

    def target(self, number: int) -> int | None:
        """Where an instruction may jump to."""
        jump = _JUMP.search(self.instructions[number])
        return self.labels[jump[1]] if jump else None

    def shortest(self, start: int, end: int) -> int | None:
        """Instructions from one to another, both counted, on the shortest way between them."""
        waiting, seen = [(1, start)], set()
        while waiting:
            count, number = heapq.heappop(waiting)
            if number == end:
                return count
            if number in seen:
                continue
            seen.add(number)
            ways = [self.target(number), None if _END.match(self.instructions[number]) else number + 1]
            for way in ways:
                if way is not None and start < way <= end:
                    heapq.heappush(waiting, (count + 1, way))
        return None

    def longest_loop(self) -> int:
        """Instructions of the longest of the loops, each by its shortest way."""
        jumps = ((self.target(number), number) for number in range(len(self.instructions)))
        loops = (self.shortest(start, end) for start, end in jumps if start is not None and start < end)
        return max(count for count in loops if count is not None)


def disassembler() -> str | None:
    """The path of nvdisasm, of the toolkit or of the package nvidia-cuda-nvdisasm."""
    packaged = (path for folder in sys.path for path in Path(folder).glob("nvidia/*/bin/nvdisasm"))
    return shutil.which("nvdisasm") or next(map(str, packaged), None)


def compiler() -> str:
    """The version of the compiler."""
    from cupy.cuda import nvrtc

    return "NVRTC {}.{}".format(*nvrtc.getVersion())


def machine_code(kernel: cuda.Kernel, architecture: int) -> bytes:
    """Compile as CuPy does, which needs a device only to ask for its architecture."""
    from cupy.cuda.compiler import _NVRTCProgram

    options = (f"-arch=sm_{architecture}", "-ftz=true", *cuda.OPTIONS)
    code, _ = _NVRTCProgram(cuda.source(kernel), kernel.file, method="cubin").compile(options, io.StringIO())
    return bytes(code) + b"\0"  # which CuPy cuts off, as it would from a string


def disassemble(kernel: cuda.Kernel, architecture: int = ARCHITECTURE) -> Code:
    """What a kernel is compiled to."""
    path = disassembler()
    assert path is not None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(machine_code(kernel, architecture))
        file.flush()
        done = subprocess.run([path, "-c", file.name], capture_output=True, text=True, check=True)
    return Code.parse(done.stdout)


def macros_of(kernel: cuda.Kernel) -> dict[str, str]:
    """What a kernel is compiled with."""
    return dict(macro.split("=") for macro in kernel.macros)


def positions(kernel: cuda.Kernel) -> int:
    """Positions that a thread takes at a time, with four letters."""
    return max(4, int(macros_of(kernel).get("GROUP_SIZE", 4)))


def per_position(kernel: cuda.Kernel, architecture: int = ARCHITECTURE) -> float:
    """Instructions a position."""
    return disassemble(kernel, architecture).longest_loop() / positions(kernel)


def name_of(kernel: cuda.Kernel) -> str:
    """A kernel in a line."""
    return " ".join((kernel.name, *kernel.macros))


def counted_kernels() -> list[cuda.Kernel]:
    """The usual kernels that work on positions of four letters."""
    return [kernel for kernel in cuda.usual_kernels() if kernel.name in ("analyze", "angle_summary")]


GROUPS = {"(N, L, 4)": None, "(N, 4, L), L = 4 n": 4, "(N, 4, L), L = 4 n + 2": 2, "(N, 4, L), L odd": 1}
"""Positions in a group of the kernel that a layout gets; where letters come last it depends on the dtype."""
BEFORE = {
    ("float32", "(N, L, 4)"): 153,
    ("float32", "(N, 4, L), L = 4 n"): 122,
    ("float32", "(N, 4, L), L odd"): 184,
    ("bfloat16", "(N, L, 4)"): 147,
    ("bfloat16", "(N, 4, L), L = 4 n"): 145,
    ("bfloat16", "(N, 4, L), L odd"): 196,
}
"""Standard work when outputs were not known to the compiler, counted by reading the machine code."""
SUMMARY_BEFORE = 164


def count_all() -> dict[str, float]:
    """Instructions a position of every kernel, by its name."""
    return {name_of(kernel): per_position(kernel) for kernel in counted_kernels()}


def table(counts: dict[str, float]) -> str:
    """Standard work with codes of a byte, and summaries, in Markdown."""
    lines = ["| | layout | before | now |", "| --- | --- | ---: | ---: |"]
    for dtype in ("float32", "bfloat16"):
        for layout, group in GROUPS.items():
            plan = (4 // cuda.ITEM_BYTES[dtype], True) if group is None else (group, False)
            now = counts[name_of(cuda._analyze_kernel(dtype, "uint8", True, 4, *plan))]
            before = BEFORE.get((dtype, layout), "")
            lines.append(f"| standard work, {dtype} | {layout} | {before} | {now:.0f} |")
    for dtype in ("float32", "bfloat16"):
        for layout, together in (("(N, L, 4)", True), ("(N, 4, L)", False)):
            now = counts[name_of(cuda._summary_kernel(dtype, 4, together))]
            lines.append(f"| `angle_summary`, {dtype} | {layout} | {SUMMARY_BEFORE} | {now:.0f} |")
    return "\n".join(lines)


def read() -> dict[str, float]:
    """The counts that are committed."""
    counts: dict[str, float] = json.loads(TABLE.read_text())["instructions_per_position"]
    return counts


if __name__ == "__main__":
    counted = count_all()
    header = {"compiler": compiler(), "architecture": ARCHITECTURE, "instructions_per_position": counted}
    TABLE.write_text(json.dumps(header, indent=1) + "\n")
    print(table(counted))
