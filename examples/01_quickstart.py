"""The main job in Python: read a screen, train, predict a perturbation that was never measured.

Run: python examples/01_quickstart.py [FOLDER]
"""

import sys
from pathlib import Path

import grape_dgl
from grape_dgl.data.catalog import resolve

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
source = resolve("demo:genes=120,conditions=20,cells=1500")
annotation = grape_dgl.Annotation.from_files(source.annotation, source.sequences)
screen = grape_dgl.read_screen(source.path, annotation=annotation)
config = grape_dgl.Config.resolve(training={"epochs": 3}, model={"hidden": 64, "width": 16})
run = grape_dgl.train(screen, out, config)
first, second = screen.genes.symbol[:2]
predictions = run.predict([f"{first}+{second}"])
for gene in abs(predictions.change[0]).argsort()[::-1][:5]:
    print(predictions.conditions[0], predictions.genes[gene], f"{predictions.change[0, gene]:+.3f}")
