"""The experiments of *Robust Explanation for Free or At the Cost of Faithfulness*."""
