"""Throughput and saliency benchmarks, their peers and their recorded results."""
