"""Any size: the only place where pixels meet the network."""

from .matte import BlockRouting, Matte, Report
from .plan import Plan, make_plan
from .run import Engine

__all__ = ["BlockRouting", "Engine", "Matte", "Plan", "Report", "make_plan"]
