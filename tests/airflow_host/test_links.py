from airflow_host.links import links_of
from airflow_host.settings import AirflowSettings
from hostkit.settings import load


def test_each_link_is_checked_at_the_url_of_its_setting() -> None:
    urls = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "API_SERVER_URL": "http://api:8000"}
    others = {"AIRFLOW_PUBLIC_URL": "http://airflow:8080", "AIRFLOW_PASSWORD": "airflow"}
    settings = load(AirflowSettings, environment=urls | others).settings
    assert {link.variable: link.url for link in links_of(settings)} == urls
    assert [link.server.health_path for link in links_of(settings)] == ["/health", "/livez"]
