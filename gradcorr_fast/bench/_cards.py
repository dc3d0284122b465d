"""What an NVIDIA GPU says of itself through NVML: clocks, temperature, and what holds its clocks back. Only read."""

import os
from typing import Any

REASONS = {
    0x0000000000000004: "power limit",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "temperature",
    0x0000000000000040: "temperature",
    0x0000000000000080: "power supply",
}
"""NVML's reasons for lower clocks that make a run slower than the card can be; idle and set clocks are none."""


class Cards:
    """The cards of this machine; all answers are empty where NVML or nvidia-ml-py is missing."""

    def __init__(self) -> None:
        self._nvml: Any = None
        try:
            import pynvml
        except (ImportError, OSError):
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:  # no driver
            return
        self._nvml = pynvml

    def _ask(self, name: str, *arguments: Any) -> Any:
        """Ask NVML; None for what this card or driver does not tell."""
        function = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            answer = function(*arguments)
        except self._nvml.NVMLError:
            return None
        return answer.decode() if isinstance(answer, bytes) else answer

    def _handle(self, device: str, bus_id: str | None) -> Any:
        """Find a card by its place on the bus, or by its number among those that this process may see."""
        if self._nvml is None or not device.startswith("cuda"):
            return None
        if bus_id is not None:
            return self._ask("nvmlDeviceGetHandleByPciBusId", bus_id)
        number = int(device.partition(":")[2] or 0)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            return self._ask("nvmlDeviceGetHandleByIndex", number)
        names = [name.strip() for name in visible.split(",")]
        if number >= len(names):
            return None
        if names[number].isdigit():
            return self._ask("nvmlDeviceGetHandleByIndex", int(names[number]))
        return self._ask("nvmlDeviceGetHandleByUUID", names[number])

    def describe(self, device: str, bus_id: str | None = None) -> dict[str, Any]:
        """Name, driver, memory and the highest clocks."""
        handle = self._handle(device, bus_id)
        if handle is None:
            return {}
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        return {
            "name": self._ask("nvmlDeviceGetName", handle),
            "driver": self._ask("nvmlSystemGetDriverVersion"),
            "memory_gib": None if memory is None else round(memory.total / 2**30, 1),
            "max_sm_mhz": self._ask("nvmlDeviceGetMaxClockInfo", handle, self._nvml.NVML_CLOCK_SM),
            "max_memory_mhz": self._ask("nvmlDeviceGetMaxClockInfo", handle, self._nvml.NVML_CLOCK_MEM),
            "power_limit_w": None if limit is None else round(limit / 1e3),
        }

    def state(self, device: str, bus_id: str | None = None) -> dict[str, Any]:
        """Clocks, temperature, power, and reasons for which the clocks are held back, now."""
        handle = self._handle(device, bus_id)
        if handle is None:
            return {}
        power = self._ask("nvmlDeviceGetPowerUsage", handle)
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if bits is None:  # its name in older drivers
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return {
            "sm_mhz": self._ask("nvmlDeviceGetClockInfo", handle, self._nvml.NVML_CLOCK_SM),
            "memory_mhz": self._ask("nvmlDeviceGetClockInfo", handle, self._nvml.NVML_CLOCK_MEM),
            "temperature_c": self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
            "power_w": None if power is None else round(power / 1e3),
            "throttled": sorted({why for bit, why in REASONS.items() if (bits or 0) & bit}),
        }
