"""Speed, as ratios against baselines that run side by side in the same process and minute."""
