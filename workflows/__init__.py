"""The pure planner: spec to graph to plan to canvas."""
