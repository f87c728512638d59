"""Any size: the only place where pixels meet the network."""

from .matte import BlockRouting, Matte, Report
from .narrow import look_job
from .plan import Job, Plan, make_plan
from .run import Engine
from .stream import (
    Results,
    band_row_bytes,
    job_in_memory,
    job_of_files,
    matte_to_files,
    plan_at_once,
    plan_in_memory,
)

__all__ = [
    "BlockRouting",
    "Engine",
    "Job",
    "Matte",
    "Plan",
    "Report",
    "Results",
    "band_row_bytes",
    "job_in_memory",
    "job_of_files",
    "look_job",
    "make_plan",
    "matte_to_files",
    "plan_at_once",
    "plan_in_memory",
]
