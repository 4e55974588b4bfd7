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
CREATE TABLE public.artifacts (
    digest character varying(64) NOT NULL,
    manifest text NOT NULL,
    size_bytes bigint NOT NULL,
    created_at timestamp with time zone NOT NULL
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
    CONSTRAINT ck_versions_state CHECK (((state)::text = ANY ((ARRAY['VALIDATED'::character varying, 'RETIRED'::character varying, 'DELETED'::character varying])::text[]))),
    CONSTRAINT ck_versions_version CHECK ((version > 0))
);
INSERT INTO public.alembic_version VALUES ('0002');
INSERT INTO public.alias_stack VALUES ('digits', 'stable', 0, 1);
INSERT INTO public.aliases VALUES ('digits', 'stable', 2, 2, '2026-11-22 03:19:50.914146+00');
INSERT INTO public.aliases VALUES ('digits', 'canary', NULL, 2, '2026-11-22 03:19:50.935379+00');
INSERT INTO public.artifacts VALUES ('8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', '{"format":1,"graph":{"digest":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"3bb63c501a2cb9b43bfbf09f0b02a7f12408e1922617522b8441afd37272b915","size_bytes":1000}],"tensors":[{"digest":"2135ce509ae9260d956cd6cd6b461a9c015a5af9f8b78282957d4e22e9a710b7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:50.808774+00');
INSERT INTO public.artifacts VALUES ('2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', '{"format":1,"graph":{"digest":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"a8989317cf9287850260df63e5c4946861b8092ff02634fb4b3dab4f9fb1da56","size_bytes":1000}],"tensors":[{"digest":"5238b82f12e1eae7bcfbb75209abfcfb40bf18a666a9ddf26a57b406abc8a748","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:50.841604+00');
INSERT INTO public.artifacts VALUES ('d28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', '{"format":1,"graph":{"digest":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"c0f72102132542cac58c33196b4a9f06d04a6454d48b0dc56ed8b00568fb7d84","size_bytes":1000}],"tensors":[{"digest":"d1cb498e3d51238ff68824fe142aa325873838ce9e41bf0becc5c57a7dc25ac6","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:50.853961+00');
INSERT INTO public.artifacts VALUES ('fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', '{"format":1,"graph":{"digest":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f","size_bytes":1000}],"tensors":[{"digest":"357d3f16382e2d1bca0be6955f2c448086ee5e2cf9cc45299c08162c7009525f","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:50.861375+00');
INSERT INTO public.artifacts VALUES ('b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', '{"format":1,"graph":{"digest":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"53dba665a357c0ed932e6faa94ab8a123e0c51b803853758a9b6a9c03c3e3d4f","size_bytes":1000}],"tensors":[{"digest":"024e90bff19ffb2e695897a27ba2d5f24945765a4afbc60208276e8a57c07da7","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:50.877588+00');
INSERT INTO public.artifacts VALUES ('f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', '{"format":1,"graph":{"digest":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000},"inline":[],"ir_version":0,"operators":[],"opsets":[],"producer":"","sources":[{"name":"digits.onnx","sha256":"9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c","size_bytes":1000}],"tensors":[{"digest":"b1bfac5d4aa89f29be68deb669bfeaf6b6dccdeb9468466868b69a4bea96ea97","dims":[64,10],"dtype":"FLOAT","name":"weights","size_bytes":2560}]}', 4029, '2026-11-22 03:19:50.994466+00');
INSERT INTO public.epoch VALUES (1, 'a5326b42-be37-4600-9dc8-bf68fe95924e', 15, 15, '71f5a6bd2b4610ce330948171571d39905dec6140ae87acf50fb7b6e9b1fcf81');
INSERT INTO public.events VALUES (1, '2026-11-22 03:19:50.808774+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2230303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a312c2274696d65223a22323032362d31312d32325430333a31393a35302e3830383737345a222c22746f223a317d', '91b4ddc775d2c99b531ad424a2be1840708882fe220da74265f73f9563a7423e', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (2, '2026-11-22 03:19:50.841604+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2239316234646463373735643263393962353331616434323461326265313834303730383838326665323230646137343236356637336639353633613734323365222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a322c2274696d65223a22323032362d31312d32325430333a31393a35302e3834313630345a222c22746f223a327d', 'e36de2e2244ec28f380ad4f5a4bbbd40d5a60453c4355c7fc1edcab294625b62', 'ada', 'register', '', 'ok', 0, 2);
INSERT INTO public.events VALUES (3, '2026-11-22 03:19:50.853961+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2265333664653265323234346563323866333830616434663561346262626434306435613630343533633433353563376663316564636162323934363235623632222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a332c2274696d65223a22323032362d31312d32325430333a31393a35302e3835333936315a222c22746f223a337d', '3da329ed51c85bd9f291ca743e206468eb8a366db19f36f377282a722b44fef1', 'ada', 'register', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (4, '2026-11-22 03:19:50.861375+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2233646133323965643531633835626439663239316361373433653230363436386562386133363664623139663336663337373238326137323262343466656631222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a342c2274696d65223a22323032362d31312d32325430333a31393a35302e3836313337355a222c22746f223a347d', '33c2bb633887fe7593ea9e55f82dab5683f8f3109099ea56cd3a1c898346a035', 'ada', 'register', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (5, '2026-11-22 03:19:50.877588+00', 'digits', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2233336332626236333338383766653735393365613965353566383264616235363833663866333130393039396561353663643361316338393833343661303335222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a352c2274696d65223a22323032362d31312d32325430333a31393a35302e3837373538385a222c22746f223a357d', 'a246b692e3a26355d43e3cc768b322a2483cc8f148306a12ae2ca6b75bae962c', 'ada', 'register', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (6, '2026-11-22 03:19:50.892321+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2261323436623639326533613236333535643433653363633736386233323261323438336363386631343833303661313261653263613662373562616539363263222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a362c2274696d65223a22323032362d31312d32325430333a31393a35302e3839323332315a222c22746f223a317d', '980144a6b9a1491ef8c51536bd2981ed9cbd32b708bdc47acf976fbe340198cb', 'ada', 'promote', 'stable', 'ok', 0, 1);
INSERT INTO public.events VALUES (7, '2026-11-22 03:19:50.914146+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a22737461626c65222c2264657461696c223a22222c2266726f6d223a312c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2239383031343461366239613134393165663863353135333662643239383165643963626433326237303862646334376163663937366662653334303139386362222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a372c2274696d65223a22323032362d31312d32325430333a31393a35302e3931343134365a222c22746f223a327d', '72c38891b7f2cadd915b0f33a1c50c4a98f8ea90b83a40a25d9a96de1606ad69', 'ada', 'promote', 'stable', 'ok', 1, 2);
INSERT INTO public.events VALUES (8, '2026-11-22 03:19:50.924051+00', 'digits', '\x7b22616374696f6e223a2270726f6d6f7465222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2237326333383839316237663263616464393135623066333361316335306334613938663865613930623833613430613235643961393664653136303661643639222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a382c2274696d65223a22323032362d31312d32325430333a31393a35302e3932343035315a222c22746f223a337d', 'f09f04021a2718bd58d76b506553a3580fe47dee25ed72f5a0bcc5edb06c4910', 'ada', 'promote', 'canary', 'ok', 0, 3);
INSERT INTO public.events VALUES (9, '2026-11-22 03:19:50.935379+00', 'digits', '\x7b22616374696f6e223a22616c6961732e72656d6f7665222c226163746f72223a22616461222c22616c696173223a2263616e617279222c2264657461696c223a22222c2266726f6d223a332c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2266303966303430323161323731386264353864373662353036353533613335383066653437646565323565643732663561306263633565646230366334393130222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a392c2274696d65223a22323032362d31312d32325430333a31393a35302e3933353337395a222c22746f223a307d', 'a59652560a181b053aae842ac0b1f57455313fc5e5ed0c6006d1ab32100dfcf1', 'ada', 'alias.remove', 'canary', 'ok', 3, 0);
INSERT INTO public.events VALUES (10, '2026-11-22 03:19:50.955096+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2261353936353235363061313831623035336161653834326163306231663537343535333133666335653565643063363030366431616233323130306466636631222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31302c2274696d65223a22323032362d31312d32325430333a31393a35302e3935353039365a222c22746f223a337d', '96c5c0a041d630e722b2c5ae922e5ba329b4d76eb8e59054d2df0b5d29580704', 'ada', 'pin', '', 'ok', 0, 3);
INSERT INTO public.events VALUES (11, '2026-11-22 03:19:50.966223+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2239366335633061303431643633306537323262326335616539323265356261333239623464373665623865353930353464326466306235643239353830373034222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31312c2274696d65223a22323032362d31312d32325430333a31393a35302e3936363232335a222c22746f223a347d', 'da67a5d5bba6a047e2f8677293b272fd71f850e3123663d52b95edb0a329cc5d', 'ada', 'retire', '', 'ok', 0, 4);
INSERT INTO public.events VALUES (12, '2026-11-22 03:19:50.976653+00', 'digits', '\x7b22616374696f6e223a22726574697265222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2264613637613564356262613661303437653266383637373239336232373266643731663835306533313233363633643532623935656462306133323963633564222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31322c2274696d65223a22323032362d31312d32325430333a31393a35302e3937363635335a222c22746f223a357d', 'c6b6b339ec726f70f190a90c3e7be781e4466229a33efc27973a42a75edeafad', 'ada', 'retire', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (13, '2026-11-22 03:19:50.986761+00', 'digits', '\x7b22616374696f6e223a2264656c657465222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2263366236623333396563373236663730663139306139306333653762653738316534343636323239613333656663323739373361343261373565646561666164222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31332c2274696d65223a22323032362d31312d32325430333a31393a35302e3938363736315a222c22746f223a357d', '6eb8bde063e3f5b6a6d310c6f82ee9ca15947a293eb1b1d60c72e82f09da35aa', 'ada', 'delete', '', 'ok', 0, 5);
INSERT INTO public.events VALUES (14, '2026-11-22 03:19:50.994466+00', 'other', '\x7b22616374696f6e223a227265676973746572222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a226f74686572222c226f7574636f6d65223a226f6b222c2270726576223a2236656238626465303633653366356236613664333130633666383265653963613135393437613239336562316231643630633732653832663039646133356161222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31342c2274696d65223a22323032362d31312d32325430333a31393a35302e3939343436365a222c22746f223a317d', '769c9df558ae2bb44389355b3f16aff363fddf5f51132a1e277048c3261bd52a', 'ada', 'register', '', 'ok', 0, 1);
INSERT INTO public.events VALUES (15, '2026-11-22 03:19:51.004424+00', 'digits', '\x7b22616374696f6e223a2270696e222c226163746f72223a22616461222c22616c696173223a22222c2264657461696c223a22222c2266726f6d223a302c226d6f64656c223a22646967697473222c226f7574636f6d65223a226f6b222c2270726576223a2237363963396466353538616532626234343338393335356233663136616666333633666464663566353131333261316532373730343863333236316264353261222c22726561736f6e223a22222c22726571756573745f6964223a22722d31222c22736571223a31352c2274696d65223a22323032362d31312d32325430333a31393a35312e3030343432345a222c22746f223a327d', '71f5a6bd2b4610ce330948171571d39905dec6140ae87acf50fb7b6e9b1fcf81', 'ada', 'pin', '', 'ok', 0, 2);
INSERT INTO public.golden_samples VALUES ('digits', 1, 'bf9f614e0e5b1f46b7f0049aa173101f65231444097dd48063c35be946b7be52', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 2, '65074cd8539dd909317db387a500261aff452def61805d8a63be20f60a29ce4b', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 3, '8210e246e167dcd350ff63151d72682602a63eeb50cba729a6acbd3069596169', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 4, '0ecc69bc32de02a5ecef25e2ae2886e15160bc1f09823691ca17faf006346f11', 500, 3);
INSERT INTO public.golden_samples VALUES ('digits', 5, '4a02b6f306dd70720c4e88198d1b9c1ea1bba80f5568a1e21bae24d91d34fc02', 500, 3);
INSERT INTO public.golden_samples VALUES ('other', 1, '273ec5e5ed00c600f2ff69cf316f57730e94c3817f2865304e6c423ec996f010', 500, 3);
INSERT INTO public.idempotency_keys VALUES ('ada', 'pin', 'k-1', 'h-1', '{"model":"digits","version":2}', false, '2026-11-22 03:19:51.004424+00');
INSERT INTO public.models VALUES ('digits', 'digits', 6, '2026-11-22 03:19:50.808774+00');
INSERT INTO public.models VALUES ('other', 'other', 2, '2026-11-22 03:19:50.994466+00');
INSERT INTO public.pins VALUES ('digits', 3, '2026-11-22 03:19:50.955096+00');
INSERT INTO public.pins VALUES ('digits', 2, '2026-11-22 03:19:51.004424+00');
INSERT INTO public.route_targets VALUES ('digits', 'stable', 2, 100, false);
INSERT INTO public.routes VALUES ('digits', 'stable', 2);
INSERT INTO public.versions VALUES ('digits', 1, 'VALIDATED', '8e66242ffa01a8dd258db40142518590d098c6fb9228f130ee417fa3e3e15681', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:50.808774+00', 'ada');
INSERT INTO public.versions VALUES ('digits', 2, 'VALIDATED', '2df75607ad7f2a36758469d5139546ea4d8bb4e10cd88f0d0d613a3dd0a3eee2', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:50.841604+00', 'ada');
INSERT INTO public.versions VALUES ('digits', 3, 'VALIDATED', 'd28a75c18d1b8d99030f475483aba834ec3cdc73f147bdd08e4aa02676db3133', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:50.853961+00', 'ada');
INSERT INTO public.versions VALUES ('digits', 4, 'RETIRED', 'fbf04d3a56f6284bc451cd3d31b009a9592b5e44a2f1225765caceaad35d61ba', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:50.861375+00', 'ada');
INSERT INTO public.versions VALUES ('digits', 5, 'DELETED', 'b6b986b42241e79ac6d875a4557268d1faab8eca06063a2e9b638c2b5f89cb05', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:50.877588+00', 'ada');
INSERT INTO public.versions VALUES ('other', 1, 'VALIDATED', 'f6dd01a2360156ab418ebf42749da597566a389d830d35107eac4ee9e1bdb902', 4029, '{"inputs":[{"dtype":"FP32","name":"x","shape":["n",64]}],"outputs":[{"dtype":"FP32","name":"y","shape":["n",10]}]}', '{"max_batch_size":8,"max_queue_delay_us":0,"max_queue_size":1024}', '{"CPU":{"atol":1e-05,"rtol":0.001}}', true, true, 'a note', '{"run":"7"}', '{"load_s":0.5}', '2026-11-22 03:19:50.994466+00', 'ada');
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alias_stack
    ADD CONSTRAINT pk_alias_stack PRIMARY KEY (model, alias, "position");
ALTER TABLE ONLY public.aliases
    ADD CONSTRAINT pk_aliases PRIMARY KEY (model, alias);
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT pk_artifacts PRIMARY KEY (digest);
ALTER TABLE ONLY public.epoch
    ADD CONSTRAINT pk_epoch PRIMARY KEY (id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (seq);
ALTER TABLE ONLY public.golden_samples
    ADD CONSTRAINT pk_golden_samples PRIMARY KEY (model, version);
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
CREATE INDEX ix_events_action_seq ON public.events USING btree (action, seq);
CREATE INDEX ix_events_model_seq ON public.events USING btree (model, seq);
CREATE INDEX ix_events_time ON public.events USING btree ("time");
CREATE INDEX ix_golden_samples_digest ON public.golden_samples USING btree (digest);
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
