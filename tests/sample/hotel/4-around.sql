SET client_min_messages = error;
SET search_path = hotel;

-- Indexes, statistics, a replica identity, a cluster mark.
CREATE INDEX ON reservation (tenant_id, arrival);
CREATE INDEX ON reservation USING brin (made_at);
CREATE INDEX guest_profile ON guest USING gin (profile jsonb_path_ops) WITH (fastupdate = off);
CREATE UNIQUE INDEX guest_mail ON guest (tenant_id, lower(mail)) INCLUDE (name) WHERE mail IS NOT NULL;
CREATE INDEX property_position ON property USING gist (position);
CREATE STATISTICS room_shape (ndistinct, dependencies, mcv) ON width_cm, length_cm FROM room;
ALTER TABLE guest REPLICA IDENTITY USING INDEX guest_pkey;
ALTER TABLE room CLUSTER ON room_pkey;
ALTER TABLE room ADD CONSTRAINT room_once EXCLUDE USING gist (box(point(room_id, room_id), point(room_id, room_id)) WITH &&);
ALTER TABLE reservation ADD CONSTRAINT reservation_guest FOREIGN KEY (guest_id) REFERENCES guest DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE payment_cash ADD CONSTRAINT cash_positive CHECK (amount > 0) NOT VALID;

-- Views, one over the other, one that checks, and two that hold rows, the second made from the first.
CREATE VIEW visit AS SELECT reservation_id, tenant_id, nights(arrival, departure) AS nights, (price).amount AS amount FROM reservation;
CREATE VIEW long_visit WITH (security_barrier) AS SELECT * FROM visit WHERE nights > 7;
CREATE VIEW open_tenant AS SELECT * FROM tenant WHERE settings ->> 'plan' <> 'free' WITH CASCADED CHECK OPTION;
CREATE MATERIALIZED VIEW "Reports & more".income AS SELECT tenant_id, count(*) AS stays, sum(amount) AS amount FROM visit GROUP BY 1;
CREATE UNIQUE INDEX ON "Reports & more".income (tenant_id);
CREATE MATERIALIZED VIEW "Reports & more".best AS SELECT * FROM "Reports & more".income WHERE amount > 1000;
CREATE MATERIALIZED VIEW "Reports & more".never AS SELECT 1 AS one WITH NO DATA;
CREATE RULE no_delete AS ON DELETE TO hotel.visit DO INSTEAD NOTHING;

-- Functions, a procedure, an aggregate, operators, casts, triggers. None may fire while rows are restored.
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
BEGIN
    INSERT INTO event (actor, what) VALUES (session_user, TG_OP || ' on ' || TG_TABLE_NAME);
    RETURN NULL;
END
$$;
CREATE TRIGGER guest_changed AFTER INSERT OR UPDATE OR DELETE ON guest FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER reservation_changed AFTER UPDATE OF state ON reservation FOR EACH ROW WHEN (old.state <> new.state) EXECUTE FUNCTION note_change();
CREATE TRIGGER tenant_changed AFTER UPDATE ON tenant FOR EACH STATEMENT EXECUTE FUNCTION note_change();
ALTER TABLE tenant DISABLE TRIGGER tenant_changed;
CREATE PROCEDURE forget(tenant integer) LANGUAGE sql AS $$ DELETE FROM hotel.guest WHERE tenant_id = tenant $$;
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1');
CREATE FUNCTION amount_of(money_amount) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).amount $$;
CREATE CAST (money_amount AS numeric) WITH FUNCTION amount_of(money_amount) AS ASSIGNMENT;
CREATE FUNCTION cheaper(money_amount, money_amount) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).amount < ($2).amount $$;
CREATE OPERATOR <<< (LEFTARG = money_amount, RIGHTARG = money_amount, FUNCTION = cheaper);
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);

CREATE FUNCTION refuse_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; END $$;
CREATE EVENT TRIGGER watch_drop ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION refuse_drop();

-- Row security: each tenant sees its own guests, even where the owner asks.
ALTER TABLE guest ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_guests ON guest TO hotel_app USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_guests ON guest AS RESTRICTIVE FOR SELECT USING (tenant_id > 0);

-- Owners, rights, comments.
ALTER TABLE tenant OWNER TO hotel_owner;
ALTER TABLE guest OWNER TO hotel_owner;
ALTER VIEW visit OWNER TO "hotel desk";
GRANT USAGE ON SCHEMA hotel, audit, "Reports & more" TO hotel_report, "hotel desk";
GRANT SELECT ON ALL TABLES IN SCHEMA hotel TO hotel_report WITH GRANT OPTION;
GRANT SELECT ON reservation TO "hotel desk";
GRANT INSERT, UPDATE (name, mail) ON guest TO hotel_app;
GRANT USAGE ON SEQUENCE guest_guest_id_seq TO hotel_app;
REVOKE EXECUTE ON FUNCTION nights(date, date) FROM public;
GRANT EXECUTE ON FUNCTION nights(date, date) TO hotel_app;
ALTER DEFAULT PRIVILEGES FOR ROLE hotel_owner IN SCHEMA hotel GRANT SELECT ON TABLES TO hotel_report;
COMMENT ON SCHEMA hotel IS 'What the application owns';
COMMENT ON TABLE guest IS E'People; it''s private\nsecond line';
COMMENT ON COLUMN guest.photo IS 'A large object';
COMMENT ON CONSTRAINT reservation_guest ON reservation IS 'Checked at commit';
COMMENT ON INDEX guest_mail IS 'One account per address';
COMMENT ON TYPE status IS 'From first question to last bill';
COMMENT ON DOMAIN email IS 'Simple on purpose';
COMMENT ON FUNCTION nights(date, date) IS 'Nights, not days';
COMMENT ON TRIGGER guest_changed ON guest IS 'Tells audit';
COMMENT ON POLICY own_guests ON guest IS 'Tenants are apart';
COMMENT ON EVENT TRIGGER watch_drop IS 'Watches';

CREATE PUBLICATION guests FOR TABLE guest (guest_id, name) WHERE (guest_id > 10), TABLE tenant;
CREATE PUBLICATION everything FOR TABLES IN SCHEMA audit WITH (publish = 'insert');
COMMENT ON PUBLICATION guests IS 'For the call centre';

ANALYZE;
