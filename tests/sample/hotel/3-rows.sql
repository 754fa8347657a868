\if :{?rows}
\else
\set rows 100000
\endif
SET client_min_messages = warning;
SET search_path = hotel;
SET timezone = 'UTC';
SELECT setseed(0.25) \g /dev/null

INSERT INTO tenant (name, settings, created_at)
SELECT format('Tenant %s', n), jsonb_build_object('plan', (ARRAY['free', 'team', 'chain'])[n % 3 + 1], 'seats', n), '2023-01-01'::timestamptz + n * interval '1 day'
FROM generate_series(1, 40) n;

INSERT INTO property (tenant_id, "Display name", position, tax, opening)
SELECT 1000 + n % 40, format('Hotel "%s"', n), point(n % 90, -n % 180), n % 25, CASE WHEN n % 5 > 0 THEN '{[2024-01-01,2024-11-01),[2025-02-01,)}'::stays END
FROM generate_series(1, 200) n;

INSERT INTO room (property_id, number, width_cm, length_cm, features, price)
SELECT 1 + n % 200, (100 + n / 200)::text, 300 + n % 170, 400 + n % 210,
       CASE n % 4 WHEN 0 THEN '{}' WHEN 1 THEN '{sea,"a \"suite\""}' WHEN 2 THEN ARRAY['bath', NULL] ELSE ARRAY['NULL', '\t'] END,
       CASE WHEN n % 7 > 0 THEN ROW(60 + n % 140, 'EUR')::money_amount END
FROM generate_series(0, 3999) n;

INSERT INTO guest (tenant_id, name, mail, profile, note, secret, session, seen)
SELECT 1000 + n % 40, format('Guest %s %s', n, chr(960 + n % 20)), format('guest%s@example.org', n),
       CASE WHEN n % 3 > 0 THEN jsonb_build_object('lang', 'pt', 'tags', jsonb_build_array(n % 9, NULL, true), 'text', E'tab\there') END,
       CASE n % 50 WHEN 0 THEN '' WHEN 1 THEN NULL WHEN 2 THEN repeat('long note ', 900) WHEN 3 THEN E'back\\slash\r\nnew line\\.' ELSE 'note ' || n END,
       decode(md5(n::text), 'hex'), md5('s' || n)::uuid, '10.0.0.0'::inet + n % 65536
FROM generate_series(1, :rows / 5) n;

INSERT INTO reservation (tenant_id, room_id, guest_id, arrival, departure, state, price, discount, made_at, detail)
SELECT 1000 + n % 40, 1 + n % 4000, 1 + n % greatest(:rows / 5, 1), day, day + 1 + n % 13, (enum_range(NULL::status))[1 + n % 5],
       ROW(80 + n % 900 + 0.5, 'EUR')::money_amount, CASE n % 11 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE n / 7.0 END,
       '2024-01-01 00:00:00.123456+00'::timestamptz + n * interval '11 seconds',
       CASE WHEN n % 2 = 0 THEN format('{"n": %s,  "wishes" : ["late", "quiet"]}', n)::json END
FROM (SELECT n, date '2024-01-01' + n % 1000 AS day FROM generate_series(1, :rows) n) AS _;

INSERT INTO payment (reservation_id, method, amount, paid_at)
SELECT n, (ARRAY['cash', 'card', 'wallet'])[n % 3 + 1], n * 1.01, timestamp '2024-01-01' + n * interval '1 minute'
FROM generate_series(1, :rows * 7 / 10) n;

INSERT INTO audit.event (at, actor, what) SELECT '2024-01-01'::timestamptz + n * interval '1 hour', 'desk', 'open' FROM generate_series(1, 500) n;
INSERT INTO audit.login (at, actor, what, address, ok) SELECT 'infinity', 'night', 'login', '192.168.0.0/16', n % 2 = 0 FROM generate_series(1, 500) n;
INSERT INTO audit.export (bytes, actor, what, event_id, at) SELECT n * 1024, NULL, 'csv', -n, '4713-01-01 BC' FROM generate_series(1, 500) n;
INSERT INTO "Reports & more"."select ""weird""" VALUES (1, E'\\N', ''), (NULL, NULL, E'\\.'), (3, E'\b\f\v', 'é');
INSERT INTO "Reports & more".nothing DEFAULT VALUES;
INSERT INTO cache SELECT n::text, n::text::xid8 FROM generate_series(1, 100) n;
SELECT nextval('invoice_number'), nextval('countdown'), nextval('countdown') \g /dev/null

-- Large objects: an empty one, some of several pieces, one with a hole.
UPDATE guest SET photo = lo_from_bytea(0, decode(repeat(md5(guest_id::text), 4000), 'hex')) WHERE guest_id <= 20;
SELECT lo_create(424242), lo_from_bytea(424243, '\x00ff') \g /dev/null
DO $$
BEGIN
    PERFORM lo_create(424244);
    PERFORM lo_put(424244, 1000000, 'after a hole');
END
$$;
COMMENT ON LARGE OBJECT 424243 IS 'Two bytes';
ALTER LARGE OBJECT 424243 OWNER TO hotel_owner;
GRANT SELECT ON LARGE OBJECT 424243 TO hotel_report;
