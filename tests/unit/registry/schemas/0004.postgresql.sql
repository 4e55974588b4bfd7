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
INSERT INTO public.alembic_version VALUES ('0004');
INSERT INTO public.alias_stack VALUES ('digits', 'stable', 0, 1);
INSERT INTO public.aliases VALUES ('digits', 'stable', 2, 2, '2026-11-22 03:19:59.457551+00');
INSERT INTO public.aliases VALUES ('digits', 'canary', NULL, 2, '2026-11-22 03:19:59.544865+00');
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
INSERT INTO public.artifacts VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '{"format":1,"graph":{"digest":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000}],"tensors":[{"digest":"2135ce509ae9260d956cd6cd6b461a9c015a5af9f8b78282957d4e22e9a710b7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:59.356912+00');
INSERT INTO public.artifacts VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '{"format":1,"graph":{"digest":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000}],"tensors":[{"digest":"5238b82f12e1eae7bcfbb75209abfcfb40bf18a666a9ddf26a57b406abc8a748","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:59.397842+00');
INSERT INTO public.artifacts VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', '{"format":1,"graph":{"digest":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000}],"tensors":[{"digest":"d1cb498e3d51238ff68824fe142aa325873838ce9e41bf0becc5c57a7dc25ac6","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:59.405921+00');
INSERT INTO public.artifacts VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '{"format":1,"graph":{"digest":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000}],"tensors":[{"digest":"357d3f16382e2d1bca0be6955f2c448086ee5e2cf9cc45299c08162c7009525f","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:59.418444+00');
INSERT INTO public.artifacts VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '{"format":1,"graph":{"digest":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000}],"tensors":[{"digest":"024e90bff19ffb2e695897a27ba2d5f24945765a4afbc60208276e8a57c07da7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:59.427564+00');
INSERT INTO public.artifacts VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', '{"format":1,"graph":{"digest":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000}],"tensors":[{"digest":"b1bfac5d4aa89f29be68deb669bfeaf6b6dccdeb9468466868b69a4bea96ea97","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:59.585068+00');
INSERT INTO public.epoch VALUES (1, '866e316c-9ad5-4395-a153-562ceea01a39', 15, 15, '03c4ddc0d9042ed5ace052f1d5a5b8b3a9ca24ea887110e7a642e0651ac9259d');
INSERT INTO public.events VALUES (1, '2026-11-22 03:19:59.356912+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2230303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a312c2274696d65223a22323032362d31312d32325430333a31393a35392e3335363931325a222c22746f223a317d', '2b85da4f20c1228da1ec0f5d67c35316c8d361261cc82a20ea155f7d0846ad83', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (2, '2026-11-22 03:19:59.397842+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2232623835646134663230633132323864613165633066356436376333353331366338643336313236316363383261323065613135356637643038343661643833222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a322c2274696d65223a22323032362d31312d32325430333a31393a35392e3339373834325a222c22746f223a327d', '70a605e329cac42f7444a24b88bf96b618e7107a4d84f480ca4945fd9fb6572c', 'ada', 'register', '', 'ok', 0, 2);
INSERT INTO public.events VALUES (3, '2026-11-22 03:19:59.405921+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2237306136303565333239636163343266373434346132346238386266393662363138653731303761346438346634383063613439343566643966623635373263222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a332c2274696d65223a22323032362d31312d32325430333a31393a35392e3430353932315a222c22746f223a337d', '4618f92894b19c4be88c3b5844a52675510c0169eccb810e1634ac95a45e4f14', 'ada', 'register', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (4, '2026-11-22 03:19:59.418444+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2234363138663932383934623139633462653838633362353834346135323637353531306330313639656363623831306531363334616339356134356534663134222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a342c2274696d65223a22323032362d31312d32325430333a31393a35392e3431383434345a222c22746f223a347d', '4b6b2f486f6ba14f16293f341b081257c57080e2ddeb4fbf5060cc0a2aa27fc7', 'ada', 'register', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (5, '2026-11-22 03:19:59.427564+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2234623662326634383666366261313466313632393366333431623038313235376335373038306532646465623466626635303630636330613261613237666337222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a352c2274696d65223a22323032362d31312d32325430333a31393a35392e3432373536345a222c22746f223a357d', '1d3985e3f486c25ace1d59402e11283159b80fd026104b11b9c27e76b7b9a023', 'ada', 'register', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (6, '2026-11-22 03:19:59.445871+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2231643339383565336634383663323561636531643539343032653131323833313539623830666430323631303462313162396332376537366237623961303233222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a362c2274696d65223a22323032362d31312d32325430333a31393a35392e3434353837315a222c22746f223a317d', 'eddbd4951b867e47a053d712bbb47a2c9058748b5fef68dce50055e56f09c4b1', 'ada', 'promote', 'stable', 'ok', 0, 1);
INSERT INTO public.events VALUES (7, '2026-11-22 03:19:59.457551+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a312c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265646462643439353162383637653437613035336437313262626234376132633930353837343862356665663638646365353030353565353666303963346231222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a372c2274696d65223a22323032362d31312d32325430333a31393a35392e3435373535315a222c22746f223a327d', 'cda10abee2b51dca1be825045a24e10aacf08eaffa97d110fa9cca5bc4a98649', 'ada', 'promote', 'stable', 'ok', 1, 2);
INSERT INTO public.events VALUES (8, '2026-11-22 03:19:59.535149+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263646131306162656532623531646361316265383235303435613234653130616163663038656166666139376431313066613963636135626334613938363439222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a382c2274696d65223a22323032362d31312d32325430333a31393a35392e3533353134395a222c22746f223a337d', 'e6b44072dd486f2462da31192395bccaa1c4761d48422a0cddb6a378740da910', 'ada', 'promote', 'canary', 'ok', 0, 3);
INSERT INTO public.events VALUES (9, '2026-11-22 03:19:59.544865+00', 'digits', '\x7b22616374696f6e223a22616c6961732e72656d6f7665222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a332c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265366234343037326464343836663234363264613331313932333935626363616131633437363164343834323261306364646236613337383734306461393130222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a392c2274696d65223a22323032362d31312d32325430333a31393a35392e3534343836355a222c22746f223a307d', '518b551fe351ccf94ef103fb46c8723fe9e531de686cd23414c4936028e317c1', 'ada', 'alias.remove', 'canary', 'ok', 3, 0);
INSERT INTO public.events VALUES (10, '2026-11-22 03:19:59.554123+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2235313862353531666533353163636639346566313033666234366338373233666539653533316465363836636432333431346334393336303238653331376331222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31302c2274696d65223a22323032362d31312d32325430333a31393a35392e3535343132335a222c22746f223a337d', '1881a543629a660bb44d34783d480b160a57a308817282b4676db48710588beb', 'ada', 'pin', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (11, '2026-11-22 03:19:59.562153+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2231383831613534333632396136363062623434643334373833643438306231363061353761333038383137323832623436373664623438373130353838626562222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31312c2274696d65223a22323032362d31312d32325430333a31393a35392e3536323135335a222c22746f223a347d', '14f552ddc7769ebd1a77b210402c2a472842c88b4bdfd62597cbb1fc378cae8b', 'ada', 'retire', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (12, '2026-11-22 03:19:59.570998+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2231346635353264646337373639656264316137376232313034303263326134373238343263383862346264666436323539376362623166633337386361653862222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31322c2274696d65223a22323032362d31312d32325430333a31393a35392e3537303939385a222c22746f223a357d', 'b0b89b29aa7f3760cc7416a151e1c5967b87cf3725ff2b505c6c3ba5a3eb17c8', 'ada', 'retire', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (13, '2026-11-22 03:19:59.58085+00', 'digits', '\x7b22616374696f6e223a2264656c657465222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2262306238396232396161376633373630636337343136613135316531633539363762383763663337323566663262353035633663336261356133656231376338222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31332c2274696d65223a22323032362d31312d32325430333a31393a35392e3538303835305a222c22746f223a357d', '96522b4b2eb93d5a40bd9b84e1a7ca632f97431ec80deec934b34186c9151576', 'ada', 'delete', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (14, '2026-11-22 03:19:59.585068+00', 'other', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a226f74686572222c226f7574636f6d65223a226f6b222c2270726576223a2239363532326234623265623933643561343062643962383465316137636136333266393734333165633830646565633933346233343138366339313531353736222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31342c2274696d65223a22323032362d31312d32325430333a31393a35392e3538353036385a222c22746f223a317d', 'a5350409bb1a6a7cc388656d7cd76adda04765f2ed11a52d1b9e77dbeaf7c1a5', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (15, '2026-11-22 03:19:59.597805+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2261353335303430396262316136613763633338383635366437636437366164646130343736356632656431316135326431623965373764626561663763316135222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31352c2274696d65223a22323032362d31312d32325430333a31393a35392e3539373830355a222c22746f223a327d', '03c4ddc0d9042ed5ace052f1d5a5b8b3a9ca24ea887110e7a642e0651ac9259d', 'ada', 'pin', '', 'ok', 0, 2);
INSERT INTO public.golden_samples VALUES ('digits', 1, 'bf9f614e0e5b1f46b7f0049aa173101f65231444097dd48063c35be946b7be52', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 2, '65074cd8539dd909317db387a500261aff452def61805d8a63be20f60a29ce4b', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 3, '8210e246e167dcd350ff63151d72682602a63eeb50cba729a6acbd3069596169', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 4, '0ecc69bc32de02a5ecef25e2ae2886e15160bc1f09823691ca17faf006346f11', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 5, '4a02b6f306dd70720c4e88198d1b9c1ea1bba80f5568a1e21bae24d91d34fc02', 500, 3);
INSERT INTO public.golden_samples VALUES ('other', 1, '273ec5e5ed00c600f2ff69cf316f57730e94c3817f2865304e6c423ec996f010', 500, 3);
INSERT INTO public.idempotency_keys VALUES ('ada', 'pin', 'k-1', 'h-1', '{"model":"digits","version":2}', false, '2026-11-22 03:19:59.597805+00');
INSERT INTO public.models VALUES ('digits', 'digits', 6, '2026-11-22 03:19:59.356912+00');
INSERT INTO public.models VALUES ('other', 'other', 2, '2026-11-22 03:19:59.585068+00');
INSERT INTO public.pins VALUES ('digits', 3, '2026-11-22 03:19:59.554123+00');
INSERT INTO public.pins VALUES ('digits', 2, '2026-11-22 03:19:59.597805+00');
INSERT INTO public.route_targets VALUES ('digits', 'stable', 2, 100, false);
INSERT INTO public.routes VALUES ('digits', 'stable', 2);
INSERT INTO public.versions VALUES ('digits', 1, 'VALIDATED', '8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:59.356912+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 2, 'VALIDATED', '2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:59.397842+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 3, 'VALIDATED', 'd28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:59.405921+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 4, 'RETIRED', 'fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:59.418444+00', 'ada', '2026-11-22 03:19:59.562153+00');
INSERT INTO public.versions VALUES ('digits', 5, 'DELETED', 'b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:59.427564+00', 'ada', '2026-11-22 03:19:59.58085+00');
INSERT INTO public.versions VALUES ('other', 1, 'VALIDATED', 'f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:59.585068+00', 'ada', NULL);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alias_stack
    ADD CONSTRAINT pk_alias_stack PRIMARY KEY (model, alias, "position");
ALTER TABLE ONLY public.aliases
    ADD CONSTRAINT pk_aliases PRIMARY KEY (model, alias);
ALTER TABLE ONLY public.artifact_blobs
    ADD CONSTRAINT pk_artifact_blobs PRIMARY KEY (artifact, digest);
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT pk_artifacts PRIMARY KEY (digest);
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
CREATE INDEX ix_artifact_blobs_digest ON public.artifact_blobs USING btree (digest);
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
