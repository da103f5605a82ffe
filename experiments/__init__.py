"""The paper's grid and our pilot as data, and the figures and dashboards that are drawn from their runs."""
