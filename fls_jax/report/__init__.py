"""The report: one HTML file of trained agents, their records, their play. docs/report.md has its format."""
