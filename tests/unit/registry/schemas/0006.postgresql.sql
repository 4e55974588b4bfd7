SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.alias_stack (
    model character varying(128) NOT NULL,
    alias character varying(63) NOT NULL,
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT ck_alias_stack_position CHECK (("position" >= 0))
);
CREATE TABLE public.aliases (
    model character varying(128) NOT NULL,
    alias character varying(63) NOT NULL,
    version bigint,
    generation bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_aliases_generation CHECK ((generation > 0))
);
CREATE TABLE public.approvals (
    seq bigint NOT NULL,
    model character varying(128) NOT NULL,
    version bigint NOT NULL,
    alias character varying(63) NOT NULL,
    digest character varying(64) NOT NULL,
    approver character varying(256) NOT NULL,
    reason text NOT NULL,
    given_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    withdrawn_at timestamp with time zone
);
CREATE TABLE public.artifact_blobs (
    artifact character varying(64) NOT NULL,
    digest character varying(64) NOT NULL,
    size_bytes bigint NOT NULL,
    CONSTRAINT ck_artifact_blobs_size_bytes CHECK ((size_bytes >= 0))
);
CREATE TABLE public.artifacts (
    digest character varying(64) NOT NULL,
    manifest text NOT NULL,
    size_bytes bigint NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.credentials (
    id character varying(32) NOT NULL,
    proof character varying(16) NOT NULL,
    name character varying(128) NOT NULL,
    key character varying(255) NOT NULL,
    grants text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT ck_credentials_proof CHECK (((proof)::text = ANY ((ARRAY['token'::character varying, 'certificate'::character varying])::text[])))
);
CREATE TABLE public.damaged_blobs (
    digest character varying(64) NOT NULL,
    why text NOT NULL,
    found_at timestamp with time zone NOT NULL
);
CREATE TABLE public.epoch (
    id integer NOT NULL,
    incarnation character varying(36) NOT NULL,
    epoch bigint NOT NULL,
    event_seq bigint NOT NULL,
    event_hash character varying(64) NOT NULL,
    CONSTRAINT ck_epoch_one_row CHECK ((id = 1))
);
CREATE TABLE public.events (
    seq bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    model text NOT NULL,
    body bytea NOT NULL,
    hash character varying(64) NOT NULL,
    actor text DEFAULT ''::text NOT NULL,
    action text DEFAULT ''::text NOT NULL,
    alias text DEFAULT ''::text NOT NULL,
    outcome text DEFAULT ''::text NOT NULL,
    from_version bigint DEFAULT '0'::bigint NOT NULL,
    to_version bigint DEFAULT '0'::bigint NOT NULL,
    CONSTRAINT ck_events_seq CHECK ((seq > 0))
);
CREATE TABLE public.golden_samples (
    model character varying(128) NOT NULL,
    version bigint NOT NULL,
    digest character varying(64) NOT NULL,
    size_bytes bigint NOT NULL,
    samples bigint NOT NULL,
    CONSTRAINT ck_golden_samples_samples CHECK ((samples > 0))
);
CREATE TABLE public.held_blobs (
    holder character varying(64) NOT NULL,
    digest character varying(64) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.idempotency_keys (
    actor character varying(256) NOT NULL,
    action character varying(32) NOT NULL,
    key character varying(256) NOT NULL,
    request_hash text NOT NULL,
    answer text NOT NULL,
    refused boolean NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.models (
    name character varying(128) NOT NULL,
    folded_name character varying(128) NOT NULL,
    next_version bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_models_next_version CHECK ((next_version > 0))
);
CREATE TABLE public.pins (
    model character varying(128) NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.replicas (
    replica character varying(128) NOT NULL,
    boot character varying(36) NOT NULL,
    address text NOT NULL,
    inference_address text NOT NULL,
    epoch bigint NOT NULL,
    ready boolean NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
CREATE TABLE public.residents (
    replica character varying(128) NOT NULL,
    model character varying(128) NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE public.rollout_votes (
    rollout character varying(36) NOT NULL,
    replica character varying(128) NOT NULL,
    boot character varying(36) NOT NULL,
    prepared boolean NOT NULL,
    reason text NOT NULL
);
CREATE TABLE public.rollouts (
    rollout character varying(36) NOT NULL,
    action character varying(32) NOT NULL,
    model character varying(128) NOT NULL,
    alias character varying(63) NOT NULL,
    version bigint NOT NULL,
    coordinator character varying(128) NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    overtaken_by text NOT NULL
);
CREATE TABLE public.route_targets (
    model character varying(128) NOT NULL,
    alias character varying(63) NOT NULL,
    version bigint NOT NULL,
    weight integer NOT NULL,
    shadow boolean NOT NULL,
    CONSTRAINT ck_route_targets_weight CHECK ((weight >= 0))
);
CREATE TABLE public.routes (
    model character varying(128) NOT NULL,
    alias character varying(63) NOT NULL,
    generation bigint NOT NULL,
    CONSTRAINT ck_routes_generation CHECK ((generation > 0))
);
CREATE TABLE public.versions (
    model character varying(128) NOT NULL,
    version bigint NOT NULL,
    state character varying(16) NOT NULL,
    digest character varying(64) NOT NULL,
    size_bytes bigint NOT NULL,
    signature text NOT NULL,
    config text NOT NULL,
    tolerances text NOT NULL,
    proven boolean NOT NULL,
    joinable boolean NOT NULL,
    note text NOT NULL,
    tags text NOT NULL,
    report text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    state_changed_at timestamp with time zone,
    CONSTRAINT ck_versions_state CHECK (((state)::text = ANY ((ARRAY['VALIDATED'::character varying, 'RETIRED'::character varying, 'DELETED'::character varying])::text[]))),
    CONSTRAINT ck_versions_version CHECK ((version > 0))
);
INSERT INTO public.alembic_version VALUES ('0006');
INSERT INTO public.alias_stack VALUES ('digits', 'stable', 0, 1);
INSERT INTO public.aliases VALUES ('digits', 'stable', 2, 2, '2026-11-22 09:00:47.875932+00');
INSERT INTO public.aliases VALUES ('digits', 'canary', NULL, 2, '2026-11-22 09:00:47.936633+00');
INSERT INTO public.artifact_blobs VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', 469);
INSERT INTO public.artifact_blobs VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915', 1000);
INSERT INTO public.artifact_blobs VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '2135ce509ae9260d956cd6cd6b461a9c015a5af9f8b78282957d4e22e9a710b7', 2560);
INSERT INTO public.artifact_blobs VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 469);
INSERT INTO public.artifact_blobs VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 'a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56', 1000);
INSERT INTO public.artifact_blobs VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '5238b82f12e1eae7bcfbb75209abfcfb40bf18a666a9ddf26a57b406abc8a748', 2560);
INSERT INTO public.artifact_blobs VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 'd28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 469);
INSERT INTO public.artifact_blobs VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 'c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84', 1000);
INSERT INTO public.artifact_blobs VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 'd1cb498e3d51238ff68824fe142aa325873838ce9e41bf0becc5c57a7dc25ac6', 2560);
INSERT INTO public.artifact_blobs VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 'fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 469);
INSERT INTO public.artifact_blobs VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f', 1000);
INSERT INTO public.artifact_blobs VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '357d3f16382e2d1bca0be6955f2c448086ee5e2cf9cc45299c08162c7009525f', 2560);
INSERT INTO public.artifact_blobs VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 'b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 469);
INSERT INTO public.artifact_blobs VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f', 1000);
INSERT INTO public.artifact_blobs VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '024e90bff19ffb2e695897a27ba2d5f24945765a4afbc60208276e8a57c07da7', 2560);
INSERT INTO public.artifact_blobs VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 'f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 469);
INSERT INTO public.artifact_blobs VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', '9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c', 1000);
INSERT INTO public.artifact_blobs VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 'b1bfac5d4aa89f29be68deb669bfeaf6b6dccdeb9468466868b69a4bea96ea97', 2560);
INSERT INTO public.artifacts VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '{"format":1,"graph":{"digest":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000}],"tensors":[{"digest":"2135ce509ae9260d956cd6cd6b461a9c015a5af9f8b78282957d4e22e9a710b7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 09:00:47.433703+00');
INSERT INTO public.artifacts VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '{"format":1,"graph":{"digest":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000}],"tensors":[{"digest":"5238b82f12e1eae7bcfbb75209abfcfb40bf18a666a9ddf26a57b406abc8a748","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 09:00:47.540711+00');
INSERT INTO public.artifacts VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', '{"format":1,"graph":{"digest":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000}],"tensors":[{"digest":"d1cb498e3d51238ff68824fe142aa325873838ce9e41bf0becc5c57a7dc25ac6","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 09:00:47.604981+00');
INSERT INTO public.artifacts VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '{"format":1,"graph":{"digest":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000}],"tensors":[{"digest":"357d3f16382e2d1bca0be6955f2c448086ee5e2cf9cc45299c08162c7009525f","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 09:00:47.701183+00');
INSERT INTO public.artifacts VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '{"format":1,"graph":{"digest":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000}],"tensors":[{"digest":"024e90bff19ffb2e695897a27ba2d5f24945765a4afbc60208276e8a57c07da7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 09:00:47.77805+00');
INSERT INTO public.artifacts VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', '{"format":1,"graph":{"digest":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000}],"tensors":[{"digest":"b1bfac5d4aa89f29be68deb669bfeaf6b6dccdeb9468466868b69a4bea96ea97","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 09:00:48.074474+00');
INSERT INTO public.epoch VALUES (1, '2d859398-416a-409e-a677-b7a68005a125', 15, 15, '3c52f359afab7e6134eb939b1a8a1e2bdd26c5df29ca2a32c0a2516173e0b10f');
INSERT INTO public.events VALUES (1, '2026-11-22 09:00:47.433703+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2230303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a312c2274696d65223a22323032362d31312d32325430393a30303a34372e3433333730335a222c22746f223a317d', 'bbc2fc4ce0a4e7aa0f150a8a3152592d459c1b66f35a557cf63c239af6074a05', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (2, '2026-11-22 09:00:47.540711+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2262626332666334636530613465376161306631353061386133313532353932643435396331623636663335613535376366363363323339616636303734613035222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a322c2274696d65223a22323032362d31312d32325430393a30303a34372e3534303731315a222c22746f223a327d', 'b299b225b9a51a2e3c0540d1918f44f4e2599163aa6172304ee623dab01d7f4a', 'ada', 'register', '', 'ok', 0, 2);
INSERT INTO public.events VALUES (3, '2026-11-22 09:00:47.604981+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2262323939623232356239613531613265336330353430643139313866343466346532353939313633616136313732333034656536323364616230316437663461222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a332c2274696d65223a22323032362d31312d32325430393a30303a34372e3630343938315a222c22746f223a337d', '923e612b7dfb6358d1f97e6f000224b143316702f267811bcd04857b581d27e3', 'ada', 'register', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (4, '2026-11-22 09:00:47.701183+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2239323365363132623764666236333538643166393765366630303032323462313433333136373032663236373831316263643034383537623538316432376533222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a342c2274696d65223a22323032362d31312d32325430393a30303a34372e3730313138335a222c22746f223a347d', 'ecf94e51ed03657fe896ff910491345a540c857638bfc562dde15b717cd0f49a', 'ada', 'register', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (5, '2026-11-22 09:00:47.77805+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265636639346535316564303336353766653839366666393130343931333435613534306338353736333862666335363264646531356237313763643066343961222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a352c2274696d65223a22323032362d31312d32325430393a30303a34372e3737383035305a222c22746f223a357d', 'e8b47ebebfc3006e179c392e1c37e5cfcf3223fade95f87bbed2759811f69a0f', 'ada', 'register', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (6, '2026-11-22 09:00:47.836728+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265386234376562656266633330303665313739633339326531633337653563666366333232336661646539356638376262656432373539383131663639613066222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a362c2274696d65223a22323032362d31312d32325430393a30303a34372e3833363732385a222c22746f223a317d', 'cbec3628bd56abe240ecf495e4a2efb0e46c68a20c6de9ee377d36cafd47a660', 'ada', 'promote', 'stable', 'ok', 0, 1);
INSERT INTO public.events VALUES (7, '2026-11-22 09:00:47.875932+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a312c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263626563333632386264353661626532343065636634393565346132656662306534366336386132306336646539656533373764333663616664343761363630222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a372c2274696d65223a22323032362d31312d32325430393a30303a34372e3837353933325a222c22746f223a327d', 'fb3048b4d44eacdfe210465e3aee3edc11ebee310ab42ec8b015064705a73a9f', 'ada', 'promote', 'stable', 'ok', 1, 2);
INSERT INTO public.events VALUES (8, '2026-11-22 09:00:47.903085+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2266623330343862346434346561636466653231303436356533616565336564633131656265653331306162343265633862303135303634373035613733613966222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a382c2274696d65223a22323032362d31312d32325430393a30303a34372e3930333038355a222c22746f223a337d', 'ca13114ef7b8f00d4ef948903eedf688f3661c3eaf81124c835e4c60e4e2e13e', 'ada', 'promote', 'canary', 'ok', 0, 3);
INSERT INTO public.events VALUES (9, '2026-11-22 09:00:47.936633+00', 'digits', '\x7b22616374696f6e223a22616c6961732e72656d6f7665222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a332c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263613133313134656637623866303064346566393438393033656564663638386633363631633365616638313132346338333565346336306534653265313365222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a392c2274696d65223a22323032362d31312d32325430393a30303a34372e3933363633335a222c22746f223a307d', 'aa0b63f01dc7b585eeb6a067a7824138734de20cf3520bbab54a007ea7980234', 'ada', 'alias.remove', 'canary', 'ok', 3, 0);
INSERT INTO public.events VALUES (10, '2026-11-22 09:00:47.996516+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2261613062363366303164633762353835656562366130363761373832343133383733346465323063663335323062626162353461303037656137393830323334222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31302c2274696d65223a22323032362d31312d32325430393a30303a34372e3939363531365a222c22746f223a337d', '565dd3a7b23e8d73665b94e310f2a72d59869528eca13eae833326177fbe690b', 'ada', 'pin', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (11, '2026-11-22 09:00:48.031559+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2235363564643361376232336538643733363635623934653331306632613732643539383639353238656361313365616538333333323631373766626536393062222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31312c2274696d65223a22323032362d31312d32325430393a30303a34382e3033313535395a222c22746f223a347d', '3e90d2bfb15b504b5472c4274a8a6be8b74af90dcade3e95cc25c979d3a7f16b', 'ada', 'retire', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (12, '2026-11-22 09:00:48.043934+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2233653930643262666231356235303462353437326334323734613861366265386237346166393064636164653365393563633235633937396433613766313662222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31322c2274696d65223a22323032362d31312d32325430393a30303a34382e3034333933345a222c22746f223a357d', 'c3da71c5e603bab045fc558997b8877c23dc05c4d55254f3b2341030709abe0b', 'ada', 'retire', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (13, '2026-11-22 09:00:48.057814+00', 'digits', '\x7b22616374696f6e223a2264656c657465222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263336461373163356536303362616230343566633535383939376238383737633233646330356334643535323534663362323334313033303730396162653062222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31332c2274696d65223a22323032362d31312d32325430393a30303a34382e3035373831345a222c22746f223a357d', 'ef17d7cd92737550cdf9fd35608c42f1531f25eebec5b726e5da9a608ee1d179', 'ada', 'delete', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (14, '2026-11-22 09:00:48.074474+00', 'other', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a226f74686572222c226f7574636f6d65223a226f6b222c2270726576223a2265663137643763643932373337353530636466396664333536303863343266313533316632356565626563356237323665356461396136303865653164313739222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31342c2274696d65223a22323032362d31312d32325430393a30303a34382e3037343437345a222c22746f223a317d', '745cd0dbecf4cdb6bd861829453a737470b4aba2bb130196b876142327b5d872', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (15, '2026-11-22 09:00:48.092477+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2237343563643064626563663463646236626438363138323934353361373337343730623461626132626231333031393662383736313432333237623564383732222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31352c2274696d65223a22323032362d31312d32325430393a30303a34382e3039323437375a222c22746f223a327d', '3c52f359afab7e6134eb939b1a8a1e2bdd26c5df29ca2a32c0a2516173e0b10f', 'ada', 'pin', '', 'ok', 0, 2);
INSERT INTO public.golden_samples VALUES ('digits', 1, 'bf9f614e0e5b1f46b7f0049aa173101f65231444097dd48063c35be946b7be52', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 2, '65074cd8539dd909317db387a500261aff452def61805d8a63be20f60a29ce4b', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 3, '8210e246e167dcd350ff63151d72682602a63eeb50cba729a6acbd3069596169', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 4, '0ecc69bc32de02a5ecef25e2ae2886e15160bc1f09823691ca17faf006346f11', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 5, '4a02b6f306dd70720c4e88198d1b9c1ea1bba80f5568a1e21bae24d91d34fc02', 500, 3);
INSERT INTO public.golden_samples VALUES ('other', 1, '273ec5e5ed00c600f2ff69cf316f57730e94c3817f2865304e6c423ec996f010', 500, 3);
INSERT INTO public.idempotency_keys VALUES ('ada', 'pin', 'k-1', 'h-1', '{"model":"digits","version":2}', false, '2026-11-22 09:00:48.092477+00');
INSERT INTO public.models VALUES ('digits', 'digits', 6, '2026-11-22 09:00:47.433703+00');
INSERT INTO public.models VALUES ('other', 'other', 2, '2026-11-22 09:00:48.074474+00');
INSERT INTO public.pins VALUES ('digits', 3, '2026-11-22 09:00:47.996516+00');
INSERT INTO public.pins VALUES ('digits', 2, '2026-11-22 09:00:48.092477+00');
INSERT INTO public.route_targets VALUES ('digits', 'stable', 2, 100, false);
INSERT INTO public.routes VALUES ('digits', 'stable', 2);
INSERT INTO public.versions VALUES ('digits', 1, 'VALIDATED', '8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 09:00:47.433703+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 2, 'VALIDATED', '2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 09:00:47.540711+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 3, 'VALIDATED', 'd28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 09:00:47.604981+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 4, 'RETIRED', 'fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 09:00:47.701183+00', 'ada', '2026-11-22 09:00:48.031559+00');
INSERT INTO public.versions VALUES ('digits', 5, 'DELETED', 'b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 09:00:47.77805+00', 'ada', '2026-11-22 09:00:48.057814+00');
INSERT INTO public.versions VALUES ('other', 1, 'VALIDATED', 'f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 09:00:48.074474+00', 'ada', NULL);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alias_stack
    ADD CONSTRAINT pk_alias_stack PRIMARY KEY (model, alias, "position");
ALTER TABLE ONLY public.aliases
    ADD CONSTRAINT pk_aliases PRIMARY KEY (model, alias);
ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT pk_approvals PRIMARY KEY (seq);
ALTER TABLE ONLY public.artifact_blobs
    ADD CONSTRAINT pk_artifact_blobs PRIMARY KEY (artifact, digest);
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT pk_artifacts PRIMARY KEY (digest);
ALTER TABLE ONLY public.credentials
    ADD CONSTRAINT pk_credentials PRIMARY KEY (id);
ALTER TABLE ONLY public.damaged_blobs
    ADD CONSTRAINT pk_damaged_blobs PRIMARY KEY (digest);
ALTER TABLE ONLY public.epoch
    ADD CONSTRAINT pk_epoch PRIMARY KEY (id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (seq);
ALTER TABLE ONLY public.golden_samples
    ADD CONSTRAINT pk_golden_samples PRIMARY KEY (model, version);
ALTER TABLE ONLY public.held_blobs
    ADD CONSTRAINT pk_held_blobs PRIMARY KEY (holder, digest);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT pk_idempotency_keys PRIMARY KEY (actor, action, key);
ALTER TABLE ONLY public.models
    ADD CONSTRAINT pk_models PRIMARY KEY (name);
ALTER TABLE ONLY public.pins
    ADD CONSTRAINT pk_pins PRIMARY KEY (model, version);
ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT pk_replicas PRIMARY KEY (replica);
ALTER TABLE ONLY public.residents
    ADD CONSTRAINT pk_residents PRIMARY KEY (replica, model, version);
ALTER TABLE ONLY public.rollout_votes
    ADD CONSTRAINT pk_rollout_votes PRIMARY KEY (rollout, replica);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT pk_rollouts PRIMARY KEY (rollout);
ALTER TABLE ONLY public.route_targets
    ADD CONSTRAINT pk_route_targets PRIMARY KEY (model, alias, version);
ALTER TABLE ONLY public.routes
    ADD CONSTRAINT pk_routes PRIMARY KEY (model, alias);
ALTER TABLE ONLY public.versions
    ADD CONSTRAINT pk_versions PRIMARY KEY (model, version);
ALTER TABLE ONLY public.models
    ADD CONSTRAINT uq_models_folded_name UNIQUE (folded_name);
CREATE INDEX ix_alias_stack_model_version ON public.alias_stack USING btree (model, version);
CREATE INDEX ix_approvals_model_version_alias ON public.approvals USING btree (model, version, alias);
CREATE INDEX ix_artifact_blobs_digest ON public.artifact_blobs USING btree (digest);
CREATE INDEX ix_credentials_proof_key ON public.credentials USING btree (proof, key);
CREATE INDEX ix_events_action_seq ON public.events USING btree (action, seq);
CREATE INDEX ix_events_model_seq ON public.events USING btree (model, seq);
CREATE INDEX ix_events_time ON public.events USING btree ("time");
CREATE INDEX ix_golden_samples_digest ON public.golden_samples USING btree (digest);
CREATE INDEX ix_held_blobs_digest ON public.held_blobs USING btree (digest);
CREATE INDEX ix_idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);
CREATE INDEX ix_residents_model_version ON public.residents USING btree (model, version);
CREATE INDEX ix_rollouts_model_alias ON public.rollouts USING btree (model, alias);
CREATE INDEX ix_route_targets_model_version ON public.route_targets USING btree (model, version);
CREATE INDEX ix_versions_digest ON public.versions USING btree (digest);
ALTER TABLE ONLY public.alias_stack
    ADD CONSTRAINT fk_alias_stack_model_alias_aliases FOREIGN KEY (model, alias) REFERENCES public.aliases(model, alias);
ALTER TABLE ONLY public.alias_stack
    ADD CONSTRAINT fk_alias_stack_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.aliases
    ADD CONSTRAINT fk_aliases_model_models FOREIGN KEY (model) REFERENCES public.models(name);
ALTER TABLE ONLY public.aliases
    ADD CONSTRAINT fk_aliases_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT fk_approvals_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.artifact_blobs
    ADD CONSTRAINT fk_artifact_blobs_artifact_artifacts FOREIGN KEY (artifact) REFERENCES public.artifacts(digest);
ALTER TABLE ONLY public.golden_samples
    ADD CONSTRAINT fk_golden_samples_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.pins
    ADD CONSTRAINT fk_pins_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT fk_rollouts_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.route_targets
    ADD CONSTRAINT fk_route_targets_model_alias_routes FOREIGN KEY (model, alias) REFERENCES public.routes(model, alias);
ALTER TABLE ONLY public.route_targets
    ADD CONSTRAINT fk_route_targets_model_version_versions FOREIGN KEY (model, version) REFERENCES public.versions(model, version);
ALTER TABLE ONLY public.routes
    ADD CONSTRAINT fk_routes_model_alias_aliases FOREIGN KEY (model, alias) REFERENCES public.aliases(model, alias);
ALTER TABLE ONLY public.versions
    ADD CONSTRAINT fk_versions_digest_artifacts FOREIGN KEY (digest) REFERENCES public.artifacts(digest);
ALTER TABLE ONLY public.versions
    ADD CONSTRAINT fk_versions_model_models FOREIGN KEY (model) REFERENCES public.models(name);
