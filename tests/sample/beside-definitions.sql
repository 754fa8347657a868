-- What `pg_dump --schema-only` leaves out, sorted: properties, rights and settings of the database; large objects and their rights.
SELECT encoding, datcollate, datctype, datconnlimit, datdba, shobj_description(oid, 'pg_database') FROM pg_database
WHERE datname = current_database();
SELECT acl FROM pg_database, unnest(datacl) AS acl WHERE datname = current_database() ORDER BY acl::text;
SELECT setrole, setting FROM pg_database AS d JOIN pg_db_role_setting ON setdatabase = d.oid, unnest(setconfig) AS setting
WHERE datname = current_database() ORDER BY 1, 2;
SELECT oid, lomowner, obj_description(oid, 'pg_largeobject'), md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid;
SELECT oid, acl FROM pg_largeobject_metadata, unnest(lomacl) AS acl ORDER BY oid, acl::text;
