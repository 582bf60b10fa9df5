"""A model of MLflow's in BentoML, as its documentation serves one."""

import os

import bentoml
import mlflow
import numpy as np
import pandas as pd

FOLDER = os.environ["MODEL_FOLDER"]


@bentoml.service(workers=int(os.environ["MODEL_WORKERS"]))
class Model:
    def __init__(self) -> None:
        self.model = mlflow.pyfunc.load_model(FOLDER)
        self.columns = self.model.metadata.get_input_schema().input_names()

    @bentoml.api
    def predict(self, rows: np.ndarray) -> list[str]:
        return self.model.predict(pd.DataFrame(rows, columns=self.columns)).tolist()
