"""Scans: data, checks, groups, coverage, simulation."""
