"""One file a subcommand: read -> assemble -> solve -> write.

init         somebody's data           -> a configuration
example      a shipped example         -> a configuration, and its series
simulate     specimen, microscope      -> series.h5 with ground truth
importing    arrays of any detector    -> series.h5
validate     config, series.h5         -> validation.json; all errors and warnings at once
plan         config                    -> run/plan/{plan.txt, reconstruct.sbatch, machine.json}
brightfield  series.h5                 -> run/brightfield.h5
ptycho       series.h5                 -> run/ptychography.h5
align        projections               -> run/alignment.h5, files for IMOD and RELION
reconstruct  series.h5                 -> run/{config.yaml, metrics.jsonl, checkpoint.h5, volume.h5}
analyze      run/volume.h5, truth      -> run/analysis.json
report       run/                      -> run/{report.html, volume.mrc}
export       run/                      -> files for other programs
doctor, schema, completion             -> standard output
run          the steps of the configuration that are not up to date; calls other commands, as does example
"""
