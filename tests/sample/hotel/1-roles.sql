-- The sample database: a chain of hotels that serves many tenants. Loaded in the order of the file names, into an empty database:
--   cat tests/sample/hotel/*.sql | psql -X -q -v ON_ERROR_STOP=1 -v rows=200000 shop
-- `rows` (default 100000) is the number of reservations; about as many rows again lie in the other tables.

SET client_min_messages = warning;

-- Roles belong to the cluster, so they may be there already.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['hotel_owner', 'hotel_app', 'hotel_report', 'hotel desk'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
END
$$;

ALTER ROLE hotel_app LOGIN CONNECTION LIMIT 50;
ALTER ROLE hotel_report SET statement_timeout = '1h';
GRANT hotel_report TO hotel_app;
COMMENT ON ROLE hotel_report IS 'Reads, never writes';

SELECT format('ALTER DATABASE %I SET search_path = hotel, public', current_database()) \gexec
SELECT format('ALTER DATABASE %I SET timezone = ''Europe/Lisbon''', current_database()) \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), 'Sample: a chain of hotels') \gexec
SELECT format('ALTER ROLE hotel_app IN DATABASE %I SET work_mem = ''8MB''', current_database()) \gexec
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO hotel_report', current_database()) \gexec
