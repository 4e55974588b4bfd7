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
INSERT INTO public.alembic_version VALUES ('0005');
INSERT INTO public.alias_stack VALUES ('digits', 'stable', 0, 1);
INSERT INTO public.aliases VALUES ('digits', 'stable', 2, 2, '2026-11-22 08:28:55.972846+00');
INSERT INTO public.aliases VALUES ('digits', 'canary', NULL, 2, '2026-11-22 08:28:56.01612+00');
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
INSERT INTO public.artifacts VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '{"format":1,"graph":{"digest":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000}],"tensors":[{"digest":"2135ce509ae9260d956cd6cd6b461a9c015a5af9f8b78282957d4e22e9a710b7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 08:28:55.72775+00');
INSERT INTO public.artifacts VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '{"format":1,"graph":{"digest":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000}],"tensors":[{"digest":"5238b82f12e1eae7bcfbb75209abfcfb40bf18a666a9ddf26a57b406abc8a748","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 08:28:55.827082+00');
INSERT INTO public.artifacts VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', '{"format":1,"graph":{"digest":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000}],"tensors":[{"digest":"d1cb498e3d51238ff68824fe142aa325873838ce9e41bf0becc5c57a7dc25ac6","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 08:28:55.865431+00');
INSERT INTO public.artifacts VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '{"format":1,"graph":{"digest":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000}],"tensors":[{"digest":"357d3f16382e2d1bca0be6955f2c448086ee5e2cf9cc45299c08162c7009525f","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 08:28:55.897078+00');
INSERT INTO public.artifacts VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '{"format":1,"graph":{"digest":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000}],"tensors":[{"digest":"024e90bff19ffb2e695897a27ba2d5f24945765a4afbc60208276e8a57c07da7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 08:28:55.913787+00');
INSERT INTO public.artifacts VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', '{"format":1,"graph":{"digest":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000}],"tensors":[{"digest":"b1bfac5d4aa89f29be68deb669bfeaf6b6dccdeb9468466868b69a4bea96ea97","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 08:28:56.07159+00');
INSERT INTO public.epoch VALUES (1, 'b54eab76-3ea7-43dd-817c-a805d415f292', 15, 15, '4bc09414064077a5b24186115ccca760ebf74df3393b167e5e85a9619f75d45c');
INSERT INTO public.events VALUES (1, '2026-11-22 08:28:55.72775+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2230303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a312c2274696d65223a22323032362d31312d32325430383a32383a35352e3732373735305a222c22746f223a317d', '3e36a420ac4ed7b008aadba4037864ee5ef01e15591fc6f12526971d8b4fd764', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (2, '2026-11-22 08:28:55.827082+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2233653336613432306163346564376230303861616462613430333738363465653565663031653135353931666336663132353236393731643862346664373634222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a322c2274696d65223a22323032362d31312d32325430383a32383a35352e3832373038325a222c22746f223a327d', '22e72b6edbc88a4581d7782c213675b7708047907a8536523a390e2716e9c771', 'ada', 'register', '', 'ok', 0, 2);
INSERT INTO public.events VALUES (3, '2026-11-22 08:28:55.865431+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2232326537326236656462633838613435383164373738326332313336373562373730383034373930376138353336353233613339306532373136653963373731222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a332c2274696d65223a22323032362d31312d32325430383a32383a35352e3836353433315a222c22746f223a337d', '427833dc92fbab1704b0b9c0c64e9d2196936da67f06e2b39461fc987df06f1e', 'ada', 'register', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (4, '2026-11-22 08:28:55.897078+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2234323738333364633932666261623137303462306239633063363465396432313936393336646136376630366532623339343631666339383764663036663165222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a342c2274696d65223a22323032362d31312d32325430383a32383a35352e3839373037385a222c22746f223a347d', 'd2287fc14eb559e8efaf1dbcd4419ec0a8d8ee96e59e4dbea0aa82f1953b6842', 'ada', 'register', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (5, '2026-11-22 08:28:55.913787+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2264323238376663313465623535396538656661663164626364343431396563306138643865653936653539653464626561306161383266313935336236383432222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a352c2274696d65223a22323032362d31312d32325430383a32383a35352e3931333738375a222c22746f223a357d', '9272239f9614b5bdc3d58ece007f8a13a9fab51a0fca0aabd796a65b94674cf5', 'ada', 'register', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (6, '2026-11-22 08:28:55.954858+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2239323732323339663936313462356264633364353865636530303766386131336139666162353161306663613061616264373936613635623934363734636635222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a362c2274696d65223a22323032362d31312d32325430383a32383a35352e3935343835385a222c22746f223a317d', 'e10873048810723a5c49b73710127d6b4b839b40352397ed6dc4c1ededd51b29', 'ada', 'promote', 'stable', 'ok', 0, 1);
INSERT INTO public.events VALUES (7, '2026-11-22 08:28:55.972846+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a312c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265313038373330343838313037323361356334396237333731303132376436623462383339623430333532333937656436646334633165646564643531623239222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a372c2274696d65223a22323032362d31312d32325430383a32383a35352e3937323834365a222c22746f223a327d', 'c6bcc006e3b3689f117a7bbfa11089f0ab61205b19713fff4d8bfb0ac98776f2', 'ada', 'promote', 'stable', 'ok', 1, 2);
INSERT INTO public.events VALUES (8, '2026-11-22 08:28:56.003882+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263366263633030366533623336383966313137613762626661313130383966306162363132303562313937313366666634643862666230616339383737366632222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a382c2274696d65223a22323032362d31312d32325430383a32383a35362e3030333838325a222c22746f223a337d', 'f03150b2f409355c1952232a9eb0b45b903030e1c3afa1e23192cb00e73a33f2', 'ada', 'promote', 'canary', 'ok', 0, 3);
INSERT INTO public.events VALUES (9, '2026-11-22 08:28:56.01612+00', 'digits', '\x7b22616374696f6e223a22616c6961732e72656d6f7665222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a332c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2266303331353062326634303933353563313935323233326139656230623435623930333033306531633361666131653233313932636230306537336133336632222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a392c2274696d65223a22323032362d31312d32325430383a32383a35362e3031363132305a222c22746f223a307d', 'f6d4bb6df7be9cdad2bebab432ca538806953fc39050f19b6b446eadd6b927a4', 'ada', 'alias.remove', 'canary', 'ok', 3, 0);
INSERT INTO public.events VALUES (10, '2026-11-22 08:28:56.030811+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2266366434626236646637626539636461643262656261623433326361353338383036393533666333393035306631396236623434366561646436623932376134222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31302c2274696d65223a22323032362d31312d32325430383a32383a35362e3033303831315a222c22746f223a337d', '44ff52748bad834a96a661216ef7585eabaf72dfc94c13e6b8693e212b8513c5', 'ada', 'pin', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (11, '2026-11-22 08:28:56.040008+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2234346666353237343862616438333461393661363631323136656637353835656162616637326466633934633133653662383639336532313262383531336335222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31312c2274696d65223a22323032362d31312d32325430383a32383a35362e3034303030385a222c22746f223a347d', '965c273e8deaaf562c575fa6619eb3452d983091dcd16be34fddb281c5802d39', 'ada', 'retire', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (12, '2026-11-22 08:28:56.055933+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2239363563323733653864656161663536326335373566613636313965623334353264393833303931646364313662653334666464623238316335383032643339222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31322c2274696d65223a22323032362d31312d32325430383a32383a35362e3035353933335a222c22746f223a357d', 'c2112445af302a2f273618a29f878417152f1e5edc8fd86a6f5cc15d763484df', 'ada', 'retire', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (13, '2026-11-22 08:28:56.065059+00', 'digits', '\x7b22616374696f6e223a2264656c657465222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263323131323434356166333032613266323733363138613239663837383431373135326631653565646338666438366136663563633135643736333438346466222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31332c2274696d65223a22323032362d31312d32325430383a32383a35362e3036353035395a222c22746f223a357d', 'ce722a49be1895ee55ddc72badbf18f141124814b6b5e5314772cdb28a261a80', 'ada', 'delete', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (14, '2026-11-22 08:28:56.07159+00', 'other', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a226f74686572222c226f7574636f6d65223a226f6b222c2270726576223a2263653732326134396265313839356565353564646337326261646266313866313431313234383134623662356535333134373732636462323861323631613830222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31342c2274696d65223a22323032362d31312d32325430383a32383a35362e3037313539305a222c22746f223a317d', '3768d728ea14618e2842d511c270fd5f9a6513ce0342e20309489b59c43850dc', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (15, '2026-11-22 08:28:56.090252+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2233373638643732386561313436313865323834326435313163323730666435663961363531336365303334326532303330393438396235396334333835306463222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31352c2274696d65223a22323032362d31312d32325430383a32383a35362e3039303235325a222c22746f223a327d', '4bc09414064077a5b24186115ccca760ebf74df3393b167e5e85a9619f75d45c', 'ada', 'pin', '', 'ok', 0, 2);
INSERT INTO public.golden_samples VALUES ('digits', 1, 'bf9f614e0e5b1f46b7f0049aa173101f65231444097dd48063c35be946b7be52', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 2, '65074cd8539dd909317db387a500261aff452def61805d8a63be20f60a29ce4b', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 3, '8210e246e167dcd350ff63151d72682602a63eeb50cba729a6acbd3069596169', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 4, '0ecc69bc32de02a5ecef25e2ae2886e15160bc1f09823691ca17faf006346f11', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 5, '4a02b6f306dd70720c4e88198d1b9c1ea1bba80f5568a1e21bae24d91d34fc02', 500, 3);
INSERT INTO public.golden_samples VALUES ('other', 1, '273ec5e5ed00c600f2ff69cf316f57730e94c3817f2865304e6c423ec996f010', 500, 3);
INSERT INTO public.idempotency_keys VALUES ('ada', 'pin', 'k-1', 'h-1', '{"model":"digits","version":2}', false, '2026-11-22 08:28:56.090252+00');
INSERT INTO public.models VALUES ('digits', 'digits', 6, '2026-11-22 08:28:55.72775+00');
INSERT INTO public.models VALUES ('other', 'other', 2, '2026-11-22 08:28:56.07159+00');
INSERT INTO public.pins VALUES ('digits', 3, '2026-11-22 08:28:56.030811+00');
INSERT INTO public.pins VALUES ('digits', 2, '2026-11-22 08:28:56.090252+00');
INSERT INTO public.route_targets VALUES ('digits', 'stable', 2, 100, false);
INSERT INTO public.routes VALUES ('digits', 'stable', 2);
INSERT INTO public.versions VALUES ('digits', 1, 'VALIDATED', '8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 08:28:55.72775+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 2, 'VALIDATED', '2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 08:28:55.827082+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 3, 'VALIDATED', 'd28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 08:28:55.865431+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 4, 'RETIRED', 'fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 08:28:55.897078+00', 'ada', '2026-11-22 08:28:56.040008+00');
INSERT INTO public.versions VALUES ('digits', 5, 'DELETED', 'b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 08:28:55.913787+00', 'ada', '2026-11-22 08:28:56.065059+00');
INSERT INTO public.versions VALUES ('other', 1, 'VALIDATED', 'f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"instances":1,"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024,"preferred_batch_sizes":[]}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 08:28:56.07159+00', 'ada', NULL);
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
