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
    address text NOT NULL,
    epoch bigint NOT NULL,
    seen_at timestamp with time zone NOT NULL
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
INSERT INTO public.alembic_version VALUES ('0003');
INSERT INTO public.alias_stack VALUES ('digits', 'stable', 0, 1);
INSERT INTO public.aliases VALUES ('digits', 'stable', 2, 2, '2026-11-22 03:19:54.904962+00');
INSERT INTO public.aliases VALUES ('digits', 'canary', NULL, 2, '2026-11-22 03:19:54.929217+00');
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
INSERT INTO public.artifacts VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '{"format":1,"graph":{"digest":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000}],"tensors":[{"digest":"2135ce509ae9260d956cd6cd6b461a9c015a5af9f8b78282957d4e22e9a710b7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:54.797055+00');
INSERT INTO public.artifacts VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '{"format":1,"graph":{"digest":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000}],"tensors":[{"digest":"5238b82f12e1eae7bcfbb75209abfcfb40bf18a666a9ddf26a57b406abc8a748","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:54.838622+00');
INSERT INTO public.artifacts VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', '{"format":1,"graph":{"digest":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000}],"tensors":[{"digest":"d1cb498e3d51238ff68824fe142aa325873838ce9e41bf0becc5c57a7dc25ac6","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:54.848407+00');
INSERT INTO public.artifacts VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '{"format":1,"graph":{"digest":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000}],"tensors":[{"digest":"357d3f16382e2d1bca0be6955f2c448086ee5e2cf9cc45299c08162c7009525f","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:54.856863+00');
INSERT INTO public.artifacts VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '{"format":1,"graph":{"digest":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000}],"tensors":[{"digest":"024e90bff19ffb2e695897a27ba2d5f24945765a4afbc60208276e8a57c07da7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:54.867078+00');
INSERT INTO public.artifacts VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', '{"format":1,"graph":{"digest":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000}],"tensors":[{"digest":"b1bfac5d4aa89f29be68deb669bfeaf6b6dccdeb9468466868b69a4bea96ea97","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:54.980886+00');
INSERT INTO public.epoch VALUES (1, '65967565-3b51-47ea-ad5c-59905c871e6a', 15, 15, 'c12f497708235072ed56a0371f397e38455283d657d4f1609d4122588b56b1a0');
INSERT INTO public.events VALUES (1, '2026-11-22 03:19:54.797055+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2230303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a312c2274696d65223a22323032362d31312d32325430333a31393a35342e3739373035355a222c22746f223a317d', '39545069f0bd4293068b1cc130d383b3eccf61d6efb02e0f67c51f744497f56d', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (2, '2026-11-22 03:19:54.838622+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2233393534353036396630626434323933303638623163633133306433383362336563636636316436656662303265306636376335316637343434393766353664222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a322c2274696d65223a22323032362d31312d32325430333a31393a35342e3833383632325a222c22746f223a327d', 'ecae0b02692027df099ae1853b697defc1278be6c586e0a0172e74b4fcbdb822', 'ada', 'register', '', 'ok', 0, 2);
INSERT INTO public.events VALUES (3, '2026-11-22 03:19:54.848407+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265636165306230323639323032376466303939616531383533623639376465666331323738626536633538366530613031373265373462346663626462383232222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a332c2274696d65223a22323032362d31312d32325430333a31393a35342e3834383430375a222c22746f223a337d', '5189015a81627de1621482b53b7c6d2dc81017569e99192a6e09e415706781c6', 'ada', 'register', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (4, '2026-11-22 03:19:54.856863+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2235313839303135613831363237646531363231343832623533623763366432646338313031373536396539393139326136653039653431353730363738316336222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a342c2274696d65223a22323032362d31312d32325430333a31393a35342e3835363836335a222c22746f223a347d', '098a060c98d40c5b97f3d6216b9b164c96e311a7c86808e160515d77149c7251', 'ada', 'register', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (5, '2026-11-22 03:19:54.867078+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2230393861303630633938643430633562393766336436323136623962313634633936653331316137633836383038653136303531356437373134396337323531222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a352c2274696d65223a22323032362d31312d32325430333a31393a35342e3836373037385a222c22746f223a357d', 'f2ccfd9bee5df4c11612fc463981db2a4a9ae7a447ae94dfae471bdb8d8cf71a', 'ada', 'register', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (6, '2026-11-22 03:19:54.879167+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2266326363666439626565356466346331313631326663343633393831646232613461396165376134343761653934646661653437316264623864386366373161222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a362c2274696d65223a22323032362d31312d32325430333a31393a35342e3837393136375a222c22746f223a317d', '12fc2caaa7ddc1c3c5f0a72176fa899f0848ec4c8bcc0deb8706173efd56f672', 'ada', 'promote', 'stable', 'ok', 0, 1);
INSERT INTO public.events VALUES (7, '2026-11-22 03:19:54.904962+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a312c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2231326663326361616137646463316333633566306137323137366661383939663038343865633463386263633064656238373036313733656664353666363732222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a372c2274696d65223a22323032362d31312d32325430333a31393a35342e3930343936325a222c22746f223a327d', '1bbddbec9b1ca60de3901b7d0bbde579133f84f4ade87c84fb699a2d5dd2a49d', 'ada', 'promote', 'stable', 'ok', 1, 2);
INSERT INTO public.events VALUES (8, '2026-11-22 03:19:54.918081+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2231626264646265633962316361363064653339303162376430626264653537393133336638346634616465383763383466623639396132643564643261343964222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a382c2274696d65223a22323032362d31312d32325430333a31393a35342e3931383038315a222c22746f223a337d', '5c2ee84706a52712d00e700e98c86bb9fc6441fd92c5287cc9cd745929aa04b0', 'ada', 'promote', 'canary', 'ok', 0, 3);
INSERT INTO public.events VALUES (9, '2026-11-22 03:19:54.929217+00', 'digits', '\x7b22616374696f6e223a22616c6961732e72656d6f7665222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a332c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2235633265653834373036613532373132643030653730306539386338366262396663363434316664393263353238376363396364373435393239616130346230222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a392c2274696d65223a22323032362d31312d32325430333a31393a35342e3932393231375a222c22746f223a307d', '23f92464ed16d2579ef08830a60d8d479c1ebb3d43870047b8106b9b30a34d11', 'ada', 'alias.remove', 'canary', 'ok', 3, 0);
INSERT INTO public.events VALUES (10, '2026-11-22 03:19:54.940562+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2232336639323436346564313664323537396566303838333061363064386434373963316562623364343338373030343762383130366239623330613334643131222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31302c2274696d65223a22323032362d31312d32325430333a31393a35342e3934303536325a222c22746f223a337d', '7235e2c51a3feef041d8a75db6f93b90464ce4e121a321ccb2d3a259c5d25a7f', 'ada', 'pin', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (11, '2026-11-22 03:19:54.949928+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2237323335653263353161336665656630343164386137356462366639336239303436346365346531323161333231636362326433613235396335643235613766222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31312c2274696d65223a22323032362d31312d32325430333a31393a35342e3934393932385a222c22746f223a347d', '6c9c99135e980ee6922d3024f2d18997a066979208a3fa0eea7f838a6f3a389a', 'ada', 'retire', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (12, '2026-11-22 03:19:54.959944+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2236633963393931333565393830656536393232643330323466326431383939376130363639373932303861336661306565613766383338613666336133383961222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31322c2274696d65223a22323032362d31312d32325430333a31393a35342e3935393934345a222c22746f223a357d', 'e828d6253fa82c81890799f11dd3534a537404a63b9f3bb753330194b285fb72', 'ada', 'retire', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (13, '2026-11-22 03:19:54.968508+00', 'digits', '\x7b22616374696f6e223a2264656c657465222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265383238643632353366613832633831383930373939663131646433353334613533373430346136336239663362623735333333303139346232383566623732222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31332c2274696d65223a22323032362d31312d32325430333a31393a35342e3936383530385a222c22746f223a357d', 'a94152b922d34d485e0027adfc22f71c74dbcd9829d3b806c1dec56f00bc0982', 'ada', 'delete', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (14, '2026-11-22 03:19:54.980886+00', 'other', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a226f74686572222c226f7574636f6d65223a226f6b222c2270726576223a2261393431353262393232643334643438356530303237616466633232663731633734646263643938323964336238303663316465633536663030626330393832222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31342c2274696d65223a22323032362d31312d32325430333a31393a35342e3938303838365a222c22746f223a317d', 'a2284301303cd984b44bbd0a4b2a0d2e7a8af5c0b168b4a6ebb861387815465c', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (15, '2026-11-22 03:19:55.002207+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2261323238343330313330336364393834623434626264306134623261306432653761386166356330623136386234613665626238363133383738313534363563222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31352c2274696d65223a22323032362d31312d32325430333a31393a35352e3030323230375a222c22746f223a327d', 'c12f497708235072ed56a0371f397e38455283d657d4f1609d4122588b56b1a0', 'ada', 'pin', '', 'ok', 0, 2);
INSERT INTO public.golden_samples VALUES ('digits', 1, 'bf9f614e0e5b1f46b7f0049aa173101f65231444097dd48063c35be946b7be52', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 2, '65074cd8539dd909317db387a500261aff452def61805d8a63be20f60a29ce4b', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 3, '8210e246e167dcd350ff63151d72682602a63eeb50cba729a6acbd3069596169', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 4, '0ecc69bc32de02a5ecef25e2ae2886e15160bc1f09823691ca17faf006346f11', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 5, '4a02b6f306dd70720c4e88198d1b9c1ea1bba80f5568a1e21bae24d91d34fc02', 500, 3);
INSERT INTO public.golden_samples VALUES ('other', 1, '273ec5e5ed00c600f2ff69cf316f57730e94c3817f2865304e6c423ec996f010', 500, 3);
INSERT INTO public.idempotency_keys VALUES ('ada', 'pin', 'k-1', 'h-1', '{"model":"digits","version":2}', false, '2026-11-22 03:19:55.002207+00');
INSERT INTO public.models VALUES ('digits', 'digits', 6, '2026-11-22 03:19:54.797055+00');
INSERT INTO public.models VALUES ('other', 'other', 2, '2026-11-22 03:19:54.980886+00');
INSERT INTO public.pins VALUES ('digits', 3, '2026-11-22 03:19:54.940562+00');
INSERT INTO public.pins VALUES ('digits', 2, '2026-11-22 03:19:55.002207+00');
INSERT INTO public.route_targets VALUES ('digits', 'stable', 2, 100, false);
INSERT INTO public.routes VALUES ('digits', 'stable', 2);
INSERT INTO public.versions VALUES ('digits', 1, 'VALIDATED', '8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:54.797055+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 2, 'VALIDATED', '2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:54.838622+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 3, 'VALIDATED', 'd28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:54.848407+00', 'ada', NULL);
INSERT INTO public.versions VALUES ('digits', 4, 'RETIRED', 'fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:54.856863+00', 'ada', '2026-11-22 03:19:54.949928+00');
INSERT INTO public.versions VALUES ('digits', 5, 'DELETED', 'b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:54.867078+00', 'ada', '2026-11-22 03:19:54.968508+00');
INSERT INTO public.versions VALUES ('other', 1, 'VALIDATED', 'f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:54.980886+00', 'ada', NULL);
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
