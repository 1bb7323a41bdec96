"""What the commands do, one file a command: read -> build -> solve -> write.

simulate     specimen, microscope      -> series.h5 with ground truth
importing    foreign arrays            -> series.h5
validate     config, series.h5         -> everything that is wrong, at once
plan         config                    -> run/plan/{plan.txt, reconstruct.sbatch, machine.json}
reconstruct  series.h5                 -> run/{config.yaml, metrics.jsonl, checkpoint.h5, volume.h5}
analyze      run/volume.h5, truth      -> run/analysis.json
report       run/                      -> run/{report.html, volume.mrc}
"""
