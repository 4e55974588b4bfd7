"""The server's settings: flags, then INTERLOCK_* environment variables, then a TOML file, then the defaults here."""

from __future__ import annotations

import difflib
import ipaddress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote, unquote

from interlock.approval import ApprovalRule, parse_rules
from interlock.errors import InvalidArgument, StartupRefused
from interlock.golden import Tolerance
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from interlock_server.access.gate import Manners
from interlock_server.certificates import CertificateFiles
from interlock_server.gpu import GpuOptions

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Everything that can be set; each field is a TOML key and, in capitals behind INTERLOCK_, a variable."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", extra="forbid", frozen=True, allow_inf_nan=False)

    data: Path = Field(Path("interlock-data"), description="Directory of the registry, the blobs and the state.")
    host: str = Field("127.0.0.1", description="Address that all three ports are bound to.")
    grpc_port: int = Field(8001, ge=0, le=65535, description="Inference gRPC; 0 picks a free port.")
    http_port: int = Field(8000, ge=0, le=65535, description="HTTP: REST inference, health, metrics.")
    admin_port: int = Field(8002, ge=0, le=65535, description="Admin gRPC.")
    workers: int = Field(
        1, ge=1, le=64, description="Serving workers, which share the inference port; more than 1 on the CPU only."
    )
    providers: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Execution provider: auto takes CUDA where it works and says what it took."
    )
    gpu_devices: str = Field(
        "0",
        pattern=r"^\d{1,3}(,\d{1,3})*$",
        description="GPUs, as nvidia-smi numbers them: the instances of each version are spread over them in turn.",
    )
    gpu_memory_limit_bytes: int = Field(
        0, ge=0, description="Memory of a GPU that each session's arena may take; 0: any."
    )
    gpu_arena: Literal["exact", "doubling"] = Field(
        "exact", description="How such an arena grows: by what is asked for, or by powers of two."
    )
    gpu_conv_search: Literal["heuristic", "exhaustive", "default"] = Field(
        "heuristic",
        description="How cuDNN finds its convolutions; exhaustive tries all at the first run of each batch size.",
    )
    gpu_tf32: bool = Field(False, description="Let GPUs compute FP32 with the precision of TF32: faster, less exact.")
    gpu_graphs: bool = Field(
        False,
        description="Record the kernels of a run for each set of shapes, and replay them (CUDA graphs); versions that "
        "do not run on the GPU as a whole fail to load then.",
    )
    tensorrt: bool = Field(
        False, description="Put TensorRT before CUDA; it builds an engine at a version's first load, for minutes."
    )
    front: Literal["auto", "aio", "core", "native"] = Field(
        "auto",
        description="What speaks gRPC on the inference port: core is fast and needs a grpcio that it knows, aio is the "
        "reference, auto takes core where it works; native is for trusted callers only (docs/guide/operations.md).",
    )
    insecure: bool = Field(False, description="Allow a non-loopback host without TLS and authentication.")
    auth: Literal["off", "on"] = Field(
        "off", description="on: every call must come from somebody known, by token or certificate, who may make it."
    )
    open_probes: bool = Field(
        True, description="With auth on: let anybody ask /healthz, /readyz and the server's gRPC health (Check)."
    )
    max_requests_per_s: float = Field(
        0.0,
        ge=0,
        description="With auth on: calls a second that one caller may make, and twice as many at once, on all ports "
        "and of all workers together; 0: any.",
    )
    max_failed_auth_per_minute: float = Field(
        30.0,
        ge=0,
        description="With auth on: calls a minute from one address whose callers are not known; one more is refused "
        "after failed_auth_delay_s. 0: any.",
    )
    failed_auth_delay_s: float = Field(
        1.0, ge=0, le=30, description="How long the answer to one failure too many is held back."
    )
    tls_cert: Path | None = Field(
        None, description="PEM chain of the server's certificate, its own first: TLS on all three ports."
    )
    tls_key: Path | None = Field(None, description="PEM key of that certificate, not encrypted.")
    tls_client_ca: Path | None = Field(
        None, description="PEM of who signs the callers' certificates: every caller must show one (mTLS)."
    )

    http_hosts: str = Field(
        "",
        description="Names, besides addresses and localhost, by which the HTTP port may be asked while it trusts "
        "whoever is on this machine (loopback, no authentication); * is any. It keeps web pages out.",
    )
    server_name: str = Field("interlock", min_length=1, description="What ServerMetadata calls this server.")
    typed_replies: Literal["mirror", "raw"] = Field(
        "mirror", description="Form of the answer to typed tensors: typed too, or raw as Triton does."
    )
    shared_memory: bool = Field(
        False, description="Let callers on this machine pass tensors through shared memory, and on GPUs through CUDA's."
    )
    reflection: bool = Field(True, description="Serve gRPC reflection on the inference and the admin port.")
    keepalive_time_s: float = Field(60.0, ge=1, description="A connection silent for so long is pinged.")
    keepalive_timeout_s: float = Field(20.0, ge=1, description="A ping unanswered for so long ends the connection.")
    min_ping_interval_s: float = Field(
        10.0, ge=0, description="Clients may ping so often on a silent connection; faster ones are cut off."
    )

    db: str = Field("", description="SQLAlchemy URL of the registry; empty is registry.db in the data directory.")
    artifacts: str = Field(
        "", description="Directory of the blobs, the same for a whole fleet; empty is blobs in the data directory."
    )
    allow_network_filesystem: bool = Field(
        False, description="Start although a registry in SQLite lies on a network's file system, which can damage it."
    )
    keep_depth: int = Field(1, ge=0, le=16, description="Earlier versions of each alias that stay loaded (K).")
    require_golden: bool = Field(False, description="Refuse versions without golden samples.")
    require_signed: str = Field(
        "", description="Patterns of models whose versions a trusted key must have signed, as `fraud-* credit`."
    )
    trusted_keys: Path | None = Field(
        None, description="File of the keys whose signatures count; trusted-keys.json in the data directory if not set."
    )
    max_atol: float = Field(5e-2, gt=0, description="Cap on the absolute tolerance that golden samples may ask for.")
    max_rtol: float = Field(5e-2, gt=0, description="Cap on the relative tolerance that golden samples may ask for.")

    require_approvals: str = Field(
        "",
        description="Which aliases move on only with approvals by others: MODELS:ALIAS=COUNT with commas between, "
        "patterns both, such as `fraud-*:stable=2`; needs auth on.",
    )
    approval_expires_s: float = Field(604800.0, gt=0, description="How long an approval counts.")
    audit_export: str = Field(
        "", description="Where the history is copied to, with signed heads: a file that grows, or - for stdout."
    )
    audit_export_every_s: float = Field(
        60.0, gt=0, description="How often new events and a signed head go there, if there are any."
    )

    quantize_max_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="How far a quantized version may be allowed to be off, as a share of its largest golden output.",
    )

    gc_grace_s: float = Field(
        86400.0, ge=0, description="How long `interlock gc` leaves blobs alone that no version has (any more)."
    )
    scrub_every_s: float = Field(
        604800.0, ge=0, description="How often every blob is read again and compared with its sha256; 0: never."
    )
    scrub_bytes_per_s: int = Field(16 * MIB, ge=1, description="How fast the scrub reads at most.")

    max_message_bytes: int = Field(64 * MIB, ge=MIB, description="Largest inference request or answer.")
    max_in_flight_bytes: int = Field(
        1024 * MIB,
        ge=MIB,
        description="Bytes of all inference messages, REST's included, and shared-memory inputs over 64 KiB that are "
        "in each worker at a time.",
    )
    max_connections: int = Field(
        4096, ge=1, le=1_000_000, description="Inference connections at a time, of each worker; one more is closed."
    )
    max_admin_connections: int = Field(
        256, ge=1, le=1_000_000, description="Connections to the admin port at a time; one more is closed."
    )
    max_streams: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Calls at a time on one gRPC connection; a client keeps back what is over it.",
    )
    max_json_bytes: int = Field(16 * MIB, ge=1024, description="Largest JSON of a REST request; binary data is apart.")
    max_http_requests: int = Field(256, ge=1, description="REST inference requests at a time; one more is refused.")
    max_http_bytes: int = Field(256 * MIB, ge=MIB, description="Bytes of all REST requests that are here at a time.")
    max_upload_bytes: int = Field(
        16 * 1024 * MIB, ge=1, description="Largest file of an upload; a graph alone cannot exceed 2 GiB."
    )
    default_deadline_s: float = Field(30.0, gt=0, description="Deadline of an inference request that names none.")
    max_deadline_s: float = Field(300.0, gt=0, description="Longest deadline; a longer one is cut to it.")
    max_queue_size: int = Field(1024, ge=1, description="Waiting requests of a version that does not set it itself.")
    max_queue_wait_s: float = Field(
        0.0,
        ge=0,
        description="Longest that a request may be expected to wait; else it is refused at once. 0: any time before "
        "its deadline.",
    )
    max_batch_size: int = Field(32, ge=0, description="Rows in one run, for a version that does not set it itself.")
    drain_grace_s: float = Field(30.0, ge=0, description="How long in-flight requests may take at shutdown.")
    prepare_timeout_s: float = Field(120.0, gt=0, description="How long loading and proving a version may take.")
    overdue_run_s: float = Field(
        10.0,
        gt=0,
        description="A worker is replaced when a run goes on so long after it was told to end.",
    )
    max_worker_bytes: int = Field(
        0, ge=0, description="Resident memory from which on a worker finishes what it has and is replaced; 0: any."
    )
    max_data_bytes: int = Field(
        0,
        ge=0,
        description="Memory that each worker may allocate, its weights and threads included: a run that wants more is "
        "refused. 0: what the machine has.",
    )
    memory_reserve_bytes: int = Field(
        0, ge=0, description="Memory of the machine that loading a version must leave free; else it is not begun."
    )
    hang_s: float = Field(
        10.0, ge=1, description="A control process whose event loop stands still for so long is started again."
    )
    apply_timeout_s: float = Field(1.0, gt=0, description="A worker that has not switched by then is restarted.")
    validate_wall_s: float = Field(
        60.0, gt=0, description="Wall clock of one validation; each 64 MiB of the model add a second."
    )
    validate_cpu_s: int = Field(
        60, ge=1, description="Processor seconds of one validation; each 64 MiB of the model add one."
    )
    validate_memory_bytes: int = Field(
        0, ge=0, description="Address space of one validation; 0: 6 × the file, 2 GiB at least."
    )
    sandbox: Literal["auto", "strict", "off"] = Field(
        "auto",
        description="Walls of the kernel's (Landlock, seccomp) around what reads uploads: auto takes those that there "
        "are, strict refuses to start without them.",
    )
    diff_timeout_s: float = Field(120.0, gt=0, description="Wall clock of one comparison of two versions.")
    max_diffs: int = Field(1, ge=1, description="Comparisons that run at once; eight more may wait.")
    derived_cache_bytes: int = Field(
        8 * 1024 * MIB, ge=0, description="Disk for derived forms; what is kept loaded stays. 0: none are made."
    )
    derived_min_bytes: int = Field(
        MIB, ge=0, description="Artifacts under this are loaded as they are, without a derived form."
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        description="Threads for a version's runs, shared out among its instances; 0: the cores that affinity and the "
        "container's CPU quota (rounded down) give, over the workers.",
    )
    poll_s: float = Field(1.0, gt=0, description="How often the registry and the workers are looked at.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line kept.")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, else JSON.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "://" in self.artifacts:
            raise ValueError(
                f"artifacts is {self.artifacts!r}, but this release keeps blobs in a directory; name one that every "
                "replica can reach"
            )
        ports: dict[int, str] = {}
        for name, port in (("grpc", self.grpc_port), ("http", self.http_port), ("admin", self.admin_port)):
            if port and ports.setdefault(port, name) != name:
                raise ValueError(f"{ports[port]}_port and {name}_port are both {port}; each needs one of its own")
        if self.workers > 1 and self.providers == "cuda":
            raise ValueError(
                f"workers is {self.workers} and providers is 'cuda', but every worker would put its own copy of each "
                "model and its own CUDA context on the GPU; use workers 1 there, or providers 'cpu'"
            )
        if self.tensorrt and self.gpu_graphs:
            raise ValueError("tensorrt and gpu_graphs are both on; switch one off: graphs are recorded for CUDA alone")
        if self.front == "native" and self.tls_cert is not None:
            raise ValueError("front is 'native', which has no TLS, and tls_cert is set; use front 'auto' for TLS")
        if (self.tls_cert is None) != (self.tls_key is None):
            given, other = ("tls_cert", "tls_key") if self.tls_key is None else ("tls_key", "tls_cert")
            raise ValueError(f"{given} is set and {other} is not; TLS needs both")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca is set without tls_cert and tls_key; TLS needs both")
        if not self.insecure and not _is_loopback(self.host):
            self._check_protected()
        if self.approval_rules and self.auth == "off":
            raise ValueError(
                f"require_approvals is {self.require_approvals!r} and auth is 'off', but whoever may call himself "
                "anything can approve his own; use --auth on"
            )
        if self.max_deadline_s < self.default_deadline_s:
            raise ValueError(
                f"max_deadline_s {self.max_deadline_s} is under default_deadline_s {self.default_deadline_s}"
            )
        return self

    def _check_protected(self) -> None:
        lacks = [] if self.tls_cert else ["no TLS (--tls-cert, --tls-key)"]
        if self.auth == "off" and self.tls_client_ca is None:
            lacks.append("no authentication (--auth on, or --tls-client-ca)")
        if lacks:
            raise ValueError(
                f"host {self.host!r} is reachable from other machines, and this server has {' and '.join(lacks)}; "
                "bind 127.0.0.1, or say --insecure if something in front of it protects it"
            )

    def absolute(self) -> Settings:
        """Return the same with absolute paths, for processes that may be elsewhere."""
        paths = ("data", "tls_cert", "tls_key", "tls_client_ca", "trusted_keys")
        given: dict[str, Path | None] = {name: getattr(self, name) for name in paths}
        return self.model_copy(update={name: path.absolute() for name, path in given.items() if path is not None})

    @property
    def certificates(self) -> CertificateFiles | None:
        """Where the certificates lie; None without TLS."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return CertificateFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    @property
    def manners(self) -> Manners:
        """What is expected of callers."""
        return Manners(
            open_probes=self.open_probes,
            requests_per_s=self.max_requests_per_s,
            failures_per_minute=self.max_failed_auth_per_minute,
            failure_delay_s=self.failed_auth_delay_s,
        )

    @property
    def own_hosts(self) -> frozenset[str] | None:
        """By which names the HTTP port may be asked; None: any."""
        names = frozenset(self.http_hosts.lower().replace(",", " ").split())
        trusts_the_machine = self.auth == "off" and self.tls_client_ca is None and _is_loopback(self.host)
        return names if trusts_the_machine and "*" not in names else None

    @property
    def approval_rules(self) -> tuple[ApprovalRule, ...]:
        """Which aliases want how many approvals; raises ValueError."""
        try:
            return parse_rules(self.require_approvals)
        except InvalidArgument as error:
            raise ValueError(f"require_approvals: {error.message}") from error

    @property
    def database_url(self) -> str:
        """The registry's SQLAlchemy URL."""
        # Quoted, for a `?` or `%` in a directory's name means something in a URL.
        return self.db or f"sqlite:///{quote(str(self.data.absolute() / 'registry.db'))}"

    @property
    def database_file(self) -> Path | None:
        """Where a registry in SQLite lies; None where it is in another database."""
        if not self.db:
            return self.data / "registry.db"
        kind, separator, path = self.db.partition(":///")
        return Path(unquote(path.partition("?")[0])) if separator and kind.startswith("sqlite") else None

    @property
    def gpu(self) -> GpuOptions:
        """How GPUs are used."""
        return GpuOptions(
            devices=tuple(map(int, self.gpu_devices.split(","))),
            memory_limit_bytes=self.gpu_memory_limit_bytes,
            arena=self.gpu_arena,
            conv_search=self.gpu_conv_search,
            tf32=self.gpu_tf32,
            graphs=self.gpu_graphs,
            tensorrt=self.tensorrt,
            tensorrt_cache=str(self.data.absolute() / "tensorrt"),
        )

    @property
    def blobs(self) -> Path:
        """The directory of the blobs."""
        return Path(self.artifacts).absolute() if self.artifacts else self.data / "blobs"

    @property
    def trust_path(self) -> Path:
        """The file of the trusted keys."""
        return self.trusted_keys or self.data / "trusted-keys.json"

    @property
    def tolerance_cap(self) -> Tolerance:
        """The widest tolerance that golden samples may ask for."""
        return Tolerance(atol=self.max_atol, rtol=self.max_rtol)

    @classmethod
    def load(cls, flags: dict[str, object], file: Path | None) -> Settings:
        """Merge flags, environment and file; raises StartupRefused with every wrong value and its source."""

        class _FromFile(cls):  # type: ignore[misc, valid-type]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                sources = [init_settings, env_settings]
                if file is not None:
                    sources.append(TomlConfigSettingsSource(settings_cls, file))
                return tuple(sources)

        if file is not None and not file.is_file():
            raise StartupRefused(f"the settings file {str(file)!r} is not there; --config names a TOML file")
        try:
            merged = _FromFile(**flags)
        except ValidationError as error:
            wrong = "; ".join(_explain(item) for item in error.errors())
            raise StartupRefused(f"the settings cannot be used: {wrong}") from error
        except ValueError as error:  # the TOML parser's
            raise StartupRefused(f"the settings file {str(file)!r} is not TOML: {error}") from error
        return cls.model_validate(merged.model_dump())


def meant(name: str) -> str:
    """Return a question about the setting that is called nearly so; "" where none is."""
    near = difflib.get_close_matches(name.lower(), Settings.model_fields, n=1, cutoff=0.8)
    return f"; did you mean {near[0]!r}?" if near else ""


def _explain(item: ErrorDetails) -> str:
    """Say what is wrong with which setting, and with which value."""
    name = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        return f"there is no setting {name!r}{meant(name)}"
    if not name:  # our own check, over several settings, whose message names them
        return item["msg"].removeprefix("Value error, ")
    return f"{name} is {str(item['input'])[:200]!r}: {item['msg']}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
