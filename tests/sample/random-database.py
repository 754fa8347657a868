#!/usr/bin/env python3
"""Writes the SQL of a random database:  random-database.py SEED | psql DB   (the same for the same seed)

Some statements fail on some servers, or by chance; psql shall go on after those. Roles are made if they are missing.
"""
import random
import sys

PIECES = ["a", "Z", "_", "0", "9x", " ", '"', "'", "\\", "\n", "\t", "\r", "%", "%s", "$", "$$", ".", "..", "/", "-", "--", "/*", ";", ",",
          "(", ")", "{", "}", "[", "=", ":x", "#", "@", "*", "?", "|", "!", "&", "é", "表", "🐘", "ß", "\u0301", "\u202e", "\ufeff", "\u00a0",
          "\x01", "\x7f", "select", "NULL", "\\.", "\\N", "public", "TABLE DATA", "C:\\", "dr_", "pg_", "USER", "x" * 60]
KEYWORDS = ["select", "user", "table", "order", "all", "null", "check", "default", "xid", "oid", "public", "from", "left", "analyze", "values"]
TEXTS = ["", " ", "\\", "\\N", "\\.", "\t", "\n", "\r", "\r\n", "a\\tb", "x\n\\.\ny", "NULL", "null", '"', "'", "{}", "{NULL}", ",", "\x01\x02",
         "\x7f", "表🐘", "e\u0301", "\ufeff", "\u202e", "  pad  ", "\\\\", "\b\f\v", "COPY t FROM stdin;", "--", "\uffff", "\U0010ffff", "\\x41"]
VALUES = {
    "smallint": ["0", "-32768", "32767"], "integer": ["0", "-2147483648", "2147483647", "7"],
    "bigint": ["0", "-9223372036854775808", "9223372036854775807"],
    "real": ["NaN", "-0", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "0.1"],
    "double precision": ["NaN", "-0", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "0.1", "0.30000000000000004"],
    "numeric": ["NaN", "Infinity", "-Infinity", "0", "0.000", "-1e-1000", "1e1000", "1.50", "9" * 200 + "." + "7" * 200],
    "numeric(1000,900)": ["0", "1.5", "1e90"], "numeric(3,-2)": ["12345", "-99900"], "numeric(2,5)": ["0.00012"],
    "boolean": ["t", "f"], "text": TEXTS, "varchar(12)": TEXTS[:14], "char(5)": ["", " ", "a", "\\.", "x  ", "\n"], "\"char\"": ["", "a", "\\"],
    "name": ["", "a", "\\N", "x" * 63], "citext": TEXTS, "hstore": ['"a\\\\"=>"b\\n", "c"=>NULL', ""],
    "bytea": ["", "\\x00", "\\x5c2e0a", "\\xdeadbeef00ff"], "bit(7)": ["1010101"], "bit varying": ["", "1", "0" * 70],
    "money": ["0", "-1234567.89", "92233720368547758.07"], "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "date": ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "2024-02-29"], "time": ["00:00", "24:00", "23:59:59.999999"],
    "time(2)": ["12:00:00.12"], "timetz": ["00:00-15:59", "24:00+15:59"],
    "timestamp": ["infinity", "-infinity", "4713-11-24 00:00 BC", "294276-12-31 23:59:59.999999", "2024-02-29 12:00"],
    "timestamptz": ["infinity", "-infinity", "4713-12-31 BC", "294276-12-31 00:00+00", "1900-01-01 00:00:17+00", "2024-03-31 01:30+00"],
    "timestamptz(0)": ["2024-10-27 00:30:00.6+00"],
    "interval": ["0", "-1 year +2 mons -3 days 04:05:06.000001", "178000000 years", "-00:00:00.000001", "1 mon -1 day", "-1 mon 1 day -1 us"],
    "interval day to second(3)": ["1 day 00:00:00.123"],
    "json": ['{"a":1,"a":2}', '  [1,  2]\n', '"\\u0007\\\\"', "null", "1e400"], "jsonb": ['{"b":1,"a":[null,"\\\\","\\t"]}', "null", "0.100", '""'],
    "jsonpath": ["$.\"a b\"[*] ? (@ > 1)", "strict $"], "xml": ["<a b='c'>d &amp; e</a>", "x", "<?xml version='1.0'?><r/>"],
    "inet": ["10.0.0.1/24", "::1", "::ffff:1.2.3.4/128"], "cidr": ["10.0.0.0/8", "2001:db8::/32"], "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"], "point": ["(NaN,-0)", "(1e-300,Infinity)", "(0.1,2)"], "line": ["{1,-1,0.5}"], "lseg": ["((0,0),(1,0.1))"],
    "box": ["((1,1),(0,0))"], "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"], "polygon": ["((0,0),(1,1),(2,0))"], "circle": ["<(0,0),1.5>"],
    "tsvector": ["", "'a':1A,2B 'it''s' '\\\\'", "the quick fox"], "tsquery": ["", "a & !(b <-> c:*A)"], "oid": ["0", "4294967295"],
    "xid": ["3"], "xid8": ["18446744073709551615"], "cid": ["1"], "tid": ["(4294967295,65535)"], "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "pg_snapshot": ["10:20:10,14,15"], "regclass": ["pg_class", "-"], "regproc": ["now"], "regprocedure": ["abs(integer)"],
    "regtype": ["integer[]", "-"], "regnamespace": ["pg_catalog"], "regrole": ["postgres"], "regoper": ["!~~*"], "regoperator": ["+(integer,integer)"],
    "regconfig": ["english"], "regdictionary": ["simple"], "regcollation": ['"C"'], "int2vector": ["", "1 2"], "oidvector": ["1 2"],
    "int4range": ["empty", "[1,5)", "(,)", "[7,)"], "numrange": ["(0.10,1.5]", "empty"], "tstzrange": ["[-infinity,infinity]", "(,2024-01-01)"],
    "daterange": ["[2024-01-01,infinity)"], "int8multirange": ["{}", "{[1,3),[5,)}"], "nummultirange": ["{(0.1,0.2]}"],
}
ORDERED = ["smallint", "integer", "bigint", "text", "numeric", "date", "timestamptz", "uuid", "varchar(12)", "boolean", "inet", "double precision"]
ROLES = ["rt plain", 'rt "q" \'s', "rt\\back", "rt_Übel", "rt-select"]


def literal(text):
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\r", "\\r").replace("\t", "\\t").replace("\b", "\\b")
    return f"E'{escaped}'" if escaped != text else f"'{text}'" if "'" not in text else "'" + text.replace("'", "''") + "'"


class Table:
    def __init__(self, name, columns):
        self.name, self.columns = name, columns  # of columns: quoted name -> type; those that rows can be given for
        self.key = None


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.seed = seed
        self.names = set()
        self.schemas, self.tables, self.views, self.functions, self.matviews = ["public"], [], [], [], []
        self.values = dict(VALUES)

    # Words.
    def chance(self, percent):
        return self.r.random() * 100 < percent

    def pick(self, what):
        return self.r.choice(list(what))

    def some(self, what, most):
        what = list(what)
        return self.r.sample(what, min(len(what), self.r.randint(1, most)))

    def raw(self):
        while True:
            if self.chance(10):
                name = self.pick(KEYWORDS)
            elif self.chance(35):
                name = f"n{self.r.randint(0, 9999)}"
            else:
                name = "".join(self.pick(PIECES) for _ in range(self.r.randint(1, 7)))
            name = name.encode()[:63].decode(errors="ignore")
            if name not in self.names and not name.startswith("pg_"):
                self.names.add(name)
                return name

    def ident(self):
        return '"' + self.raw().replace('"', '""') + '"'

    def qualified(self):
        return f"{self.pick(self.schemas)}.{self.ident()}"

    def role(self):
        return '"' + self.pick(ROLES).replace('"', '""') + '"'

    def text(self):
        return literal("".join(self.pick(TEXTS) for _ in range(self.r.randint(1, 3))))

    def value(self, kind):
        if self.chance(15):
            return "NULL"
        if kind.endswith("[]"):
            element = kind[:-2]
            shape = self.pick(["{}", "flat", "flat", "square", "based"])
            cast = f"::{element}"
            one = [self.value(element) + cast for _ in range(2)]
            array = {"{}": "'{}'", "flat": f"ARRAY[{', '.join(one)}]", "square": f"ARRAY[[{', '.join(one)}],[{', '.join(one)}]]"}
            return array.get(shape, "'{}'") + f"::{element}[]"
        if kind == "text" and self.chance(8):
            return f"(SELECT string_agg(md5((i * {self.r.randint(1, 99)})::text), E'\\\\\\n') FROM generate_series(1, {self.r.randint(100, 9000)}) i)"
        if kind == "bytea" and self.chance(8):
            return f"(SELECT decode(string_agg(md5(i::text), ''), 'hex') FROM generate_series(1, {self.r.randint(100, 9000)}) i)"
        if kind in ("integer", "bigint", "numeric") and self.chance(50):
            return literal(str(self.r.randint(-1000, 1000)))
        if kind == "text" and self.chance(40):
            return self.text()
        made = self.pick(self.values[kind])
        return made() if callable(made) else literal(made)

    def kind(self):
        kind = self.pick(self.values)
        return kind + "[]" if self.chance(15) else kind

    def say(self, *statements):
        for statement in statements:
            print(statement + "\n;")

    # Objects.
    def roles(self):
        for name in ROLES:
            quoted = '"' + name.replace('"', '""') + '"'
            self.say(f"DO $do$ BEGIN CREATE ROLE {quoted}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$")

    def spaces(self):
        for _ in range(self.r.randint(0, 4)):
            name = self.ident()
            self.say(f"CREATE SCHEMA {name}" + (f" AUTHORIZATION {self.role()}" if self.chance(30) else ""))
            self.schemas.append(name)
        for extension in ["citext", "hstore", "btree_gist", "pg_trgm", "ltree"]:
            if self.chance(50):
                self.say(f"CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public")
            elif extension in self.values:
                del self.values[extension]
        for _ in range(self.r.randint(0, 4)):
            objects, rights = self.pick([("TABLES", ["SELECT", "ALL", "INSERT"]), ("SEQUENCES", ["USAGE"]), ("FUNCTIONS", ["EXECUTE"]), ("TYPES", ["USAGE"])])
            for_role = f" FOR ROLE {self.role()}" if self.chance(40) else ""
            inside = f" IN SCHEMA {self.pick(self.schemas)}" if self.chance(50) else ""
            deed = self.pick([f"GRANT {self.pick(rights)} ON {objects} TO {self.role()}", f"REVOKE ALL ON {objects} FROM {self.pick(['PUBLIC', self.role()])}"])
            self.say(f"ALTER DEFAULT PRIVILEGES{for_role}{inside} {deed}")

    def types(self):
        for _ in range(self.r.randint(0, 3)):
            name, labels = self.qualified(), [self.raw() for _ in range(self.r.randint(1, 5))]
            self.say(f"CREATE TYPE {name} AS ENUM ({', '.join(literal(label) for label in labels)})")
            if self.chance(30):
                label = self.raw()
                self.say(f"ALTER TYPE {name} ADD VALUE {literal(label)} BEFORE {literal(labels[0])}")
                labels.append(label)
            self.values[name] = labels
        for _ in range(self.r.randint(0, 3)):
            name, base = self.qualified(), self.kind()
            extra = self.pick(["", "", " CHECK (VALUE IS NOT NULL OR true)", " DEFAULT NULL", f" CONSTRAINT {self.ident()} CHECK (true)"])
            collation = ' COLLATE "C"' if base == "text" else ""
            self.say(f"CREATE DOMAIN {name} AS {base}{collation}{extra}")
            self.values[name] = [lambda base=base: self.value(base)]
        for _ in range(self.r.randint(0, 3)):
            name, kinds = self.qualified(), [self.kind() for _ in range(self.r.randint(0, 4))]
            self.say(f"CREATE TYPE {name} AS ({', '.join(f'{self.ident()} {kind}' for kind in kinds)})")
            if kinds:
                self.values[name] = [lambda kinds=kinds, name=name: f"ROW({', '.join(self.value(kind) for kind in kinds)})::{name}"]
        if self.chance(40):
            name, subtype = self.qualified(), self.pick(["text", "double precision", "uuid", "inet", "name"])
            multirange = f", multirange_type_name = {self.qualified()}" if self.chance(30) else ""
            collation = ', collation = "C"' if subtype == "text" else ""
            self.say(f"CREATE TYPE {name} AS RANGE (subtype = {subtype}{collation}{multirange})")
            self.values[name] = [lambda name=name, subtype=subtype: f"{name}({self.value(subtype)}, NULL, '[)')", "empty"]

    def sequences(self):
        for _ in range(self.r.randint(0, 4)):
            name = self.qualified()
            step = self.pick([1, -1, 7, -32768, 2**40])
            options = self.pick(["", "CYCLE", "CACHE 50", "MINVALUE -5 START -5" if step > 0 else "MAXVALUE 9 START 9", "MINVALUE -9223372036854775808"])
            kind = self.pick(["", "UNLOGGED ", ""])
            self.say(f"CREATE {kind}SEQUENCE {name} INCREMENT {step} {options}")
            if self.chance(50):
                self.say(f"SELECT nextval({literal(name)}), nextval({literal(name)})")
            if self.chance(20):
                self.say(f"SELECT setval({literal(name)}, 1, {self.pick(['true', 'false'])})", f"ALTER SEQUENCE {name} RESTART")
            if self.chance(30):
                self.say(f"GRANT USAGE ON SEQUENCE {name} TO {self.role()}", f"COMMENT ON SEQUENCE {name} IS {self.text()}")

    def routines(self):
        for _ in range(self.r.randint(0, 4)):
            name, kind = self.qualified(), self.pick(["integer", "text", "numeric"])
            self.say(f"CREATE FUNCTION {name}({self.ident()} {kind}, {self.ident()} {kind} DEFAULT {self.value(kind)}) RETURNS {kind} LANGUAGE "
                     + self.pick(["sql IMMUTABLE AS $f$ SELECT $1 $f$", "plpgsql IMMUTABLE STRICT AS $f$ BEGIN RETURN $1; -- \\. '\n END $f$",
                                  "sql IMMUTABLE PARALLEL SAFE RETURN $1", "sql STABLE SECURITY DEFINER SET search_path = 'a b', \"C d\" BEGIN ATOMIC SELECT $1; SELECT $2; END"]))
            self.functions.append((name, kind))
            if self.chance(50):
                self.say(f"COMMENT ON FUNCTION {name}({kind}, {kind}) IS {self.text()}", f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
                         f"GRANT EXECUTE ON FUNCTION {name} TO {self.role()}", f"ALTER FUNCTION {name} OWNER TO {self.role()}")
        self.say("CREATE FUNCTION public.rt_touch() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN IF TG_LEVEL = 'STATEMENT' THEN RETURN NULL; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $f$")
        if self.chance(40):
            self.say(f"CREATE AGGREGATE {self.qualified()}(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', PARALLEL = SAFE)")
        if self.chance(40):
            schema = self.pick(self.schemas)
            self.say(f"CREATE FUNCTION {schema}.rt_near(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 10 = $2 / 10'",
                     f"CREATE OPERATOR {schema}.~=~@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = {schema}.rt_near, COMMUTATOR = OPERATOR({schema}.~=~@))")
        if self.chance(30):
            self.say(f"CREATE COLLATION {self.qualified()} (provider = icu, locale = 'und', deterministic = false)", f"CREATE PROCEDURE {self.qualified()}(INOUT a integer) LANGUAGE sql AS 'SELECT 1'")

    def columns(self, most=40):
        count = self.r.randint(0, most if self.chance(15) else 9)
        return {self.ident(): self.kind() for _ in range(count)}

    def column(self, name, kind):
        extra = ""
        if self.chance(20) and not kind.endswith("[]"):
            extra += f" DEFAULT {self.value(kind)}"
        if kind == "text" and self.chance(20):
            extra += self.pick([' COLLATE "C"', ' COLLATE "POSIX"', " COMPRESSION pglz", ' COLLATE "und-x-icu"'])
        return f"{name} {kind}{extra}"

    def plain_table(self):
        name, columns = self.qualified(), self.columns()
        table = Table(name, dict(columns))
        parts = [self.column(*item) for item in columns.items()]
        if self.chance(50):
            table.key = self.ident()
            kind = self.pick(["integer", "bigint", "text", "numeric"])
            parts.append(f"{table.key} {kind} PRIMARY KEY{self.pick(['', '', ' DEFERRABLE INITIALLY DEFERRED'])}")
            table.columns[table.key], table.key_kind = kind, kind
        if self.chance(25):
            parts.append(f"{self.ident()} {self.pick(['serial', 'smallserial', 'bigserial'])}")
        if self.chance(25):
            parts.append(f"{self.ident()} bigint GENERATED {self.pick(['ALWAYS', 'BY DEFAULT'])} AS IDENTITY (START {self.r.randint(-5, 5)} MINVALUE -5 INCREMENT {self.pick([1, 3])})")
        numbers = [column for column, kind in columns.items() if kind == "integer"]
        if self.chance(50) and numbers:
            parts.append(f"{self.ident()} bigint GENERATED ALWAYS AS ({self.pick(numbers)}::bigint * 2) STORED")
        elif self.chance(10):
            parts.append(f"{self.ident()} integer GENERATED ALWAYS AS (42) STORED")
        self.r.shuffle(parts)
        head = self.pick(["TABLE", "TABLE", "TABLE", "UNLOGGED TABLE"])
        parents = [one.name for one in self.tables if one.plain]
        inherits = f" INHERITS ({self.pick(parents)})" if parents and self.chance(20) else ""
        options = self.pick(["", "", " WITH (fillfactor = 50, toast.autovacuum_enabled = false)"])
        self.say(f"CREATE {head} {name} ({', '.join(parts)}){inherits}{options}")
        table.plain = True
        self.tables.append(table)
        return table

    def partitioned_table(self):
        name, other = self.qualified(), self.columns(5)
        by, kind = self.ident(), self.pick(["integer", "text", "date"] + [n for n, v in self.values.items() if "." in n and v and isinstance(v[0], str)])
        method = self.pick(["RANGE", "LIST", "HASH"]) if kind in ("integer", "text", "date") else self.pick(["LIST", "HASH"])
        parts = [f"{by} {kind}"] + [self.column(*item) for item in other.items()]
        self.say(f"CREATE TABLE {name} ({', '.join(parts)}) PARTITION BY {method} ({by})")
        bounds = {"integer": ["-100", "0", "500"], "text": ["a", "m", "x"], "date": ["2000-01-01", "2024-01-01", "2030-01-01"]}.get(kind)
        labels = self.values[kind] if bounds is None else bounds
        if method == "HASH":
            clauses = [f"FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3)]
        elif method == "LIST":
            clauses = [f"FOR VALUES IN ({literal(labels[0])})"] + [f"FOR VALUES IN ({literal(label)})" for label in labels[1:2]] + ["DEFAULT"]
        else:
            clauses = [f"FOR VALUES FROM (MINVALUE) TO ({literal(bounds[0])})", f"FOR VALUES FROM ({literal(bounds[0])}) TO ({literal(bounds[2])})", "DEFAULT"]
        for clause in clauses:
            part = self.qualified()
            if self.chance(35):
                # Attached, with other order of columns and one that was dropped.
                shuffled = list({by: kind, **other}.items())
                self.r.shuffle(shuffled)
                junk = self.ident()
                self.say(f"CREATE TABLE {part} ({junk} text, {', '.join(f'{n} {k}' for n, k in shuffled)})", f"ALTER TABLE {part} DROP COLUMN {junk}",
                         f"ALTER TABLE {name} ATTACH PARTITION {part} {clause}")
            elif self.chance(25):
                below = self.ident()
                self.say(f"CREATE TABLE {part} PARTITION OF {name} {clause} PARTITION BY HASH ({by})",
                         f"CREATE TABLE {self.pick(self.schemas)}.{below} PARTITION OF {part} FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
            else:
                self.say(f"CREATE {self.pick(['', 'UNLOGGED '])}TABLE {part} PARTITION OF {name} {clause}")
        table = Table(name, {by: kind, **other})
        table.plain = False
        if self.chance(50):
            self.say(f"ALTER TABLE {name} ADD {self.pick(['UNIQUE', 'PRIMARY KEY'])} ({by})")
        if self.chance(50):
            index = self.ident()
            self.say(f"CREATE INDEX {index} ON {self.pick(['', 'ONLY '])}{name} ({by})", f"COMMENT ON TABLE {name} IS {self.text()}")
        self.tables.append(table)

    def rows(self, table):
        columns = list(table.columns.items())
        for _ in range(self.r.randint(0, 12)):
            chosen = columns if self.chance(80) else self.some(columns, 3) if columns else []
            if not chosen:
                self.say(f"INSERT INTO {table.name} DEFAULT VALUES")
            else:
                self.say(f"INSERT INTO {table.name} ({', '.join(n for n, _ in chosen)}) VALUES ({', '.join(self.value(k) for _, k in chosen)})")
        if not columns and self.chance(50):
            self.say(f"INSERT INTO {table.name} SELECT FROM generate_series(1, 5)")
        if columns and self.chance(8):
            column, kind = self.pick(columns)
            if kind in ("integer", "bigint", "numeric", "text"):
                self.say(f"INSERT INTO {table.name} ({column}) SELECT i::{kind} FROM generate_series(1, {self.r.randint(100, 60000)}) i")

    def alterations(self, table):
        name = table.name
        for _ in range(self.r.randint(0, 2)):
            column, kind = self.ident(), self.kind()
            default = f" DEFAULT {self.value(kind)}" if self.chance(50) and not kind.endswith("[]") else ""
            self.say(f"ALTER TABLE {name} ADD COLUMN {column} {kind}{default}")
            if self.chance(40):
                self.say(f"ALTER TABLE {name} DROP COLUMN {column}")
            else:
                table.columns[column] = kind
        if table.columns and self.chance(60):
            column = self.pick(table.columns)
            self.say(self.pick([
                f"ALTER TABLE {name} ALTER COLUMN {column} SET STATISTICS 33", f"ALTER TABLE {name} ALTER COLUMN {column} SET STORAGE EXTERNAL",
                f"ALTER TABLE {name} ALTER COLUMN {column} SET (n_distinct = -0.2)", f"ALTER TABLE {name} ALTER COLUMN {column} SET NOT NULL",
                f"ALTER TABLE {name} ADD CONSTRAINT {self.ident()} NOT NULL {column} NOT VALID", f"ALTER TABLE {name} ADD CONSTRAINT {self.ident()} CHECK ({column} IS NOT NULL) NOT ENFORCED",
                f"ALTER TABLE {name} ADD COLUMN {self.ident()} text GENERATED ALWAYS AS ({column}::text) VIRTUAL",
                f"ALTER TABLE {name} ADD CONSTRAINT {self.ident()} CHECK ({column} IS NOT NULL OR {literal(self.raw())} <> '') NO INHERIT",
                f"ALTER TABLE {name} ADD CONSTRAINT {self.ident()} CHECK ({column} IS NULL) NOT VALID"]))
        if self.chance(30):
            self.say(f"COMMENT ON TABLE {name} IS {self.text()}")
            for column in self.some(table.columns, 2) if table.columns else []:
                self.say(f"COMMENT ON COLUMN {name}.{column} IS {self.text()}", f"GRANT SELECT ({column}) ON {name} TO {self.role()}")
        for _ in range(self.r.randint(0, 2)):
            self.say(f"GRANT {self.pick(['SELECT', 'ALL', 'INSERT, UPDATE', 'TRIGGER'])} ON {name} TO {self.pick(['PUBLIC', self.role(), self.role()])}{self.pick(['', ' WITH GRANT OPTION'])}")
        if self.chance(15):
            self.say(f"ALTER TABLE {name} OWNER TO {self.role()}")
        if self.chance(5):
            self.say(f"REVOKE ALL ON {name} FROM postgres")

    def indexes(self, table):
        kinds = table.columns
        for _ in range(self.r.randint(0, 4)):
            if not kinds:
                return
            column, name = self.pick(kinds), self.ident()
            kind = kinds[column]
            method = self.pick(["btree", "btree", "hash", "brin", "gist", "gin", "spgist"])
            call = [f"{one}({column}, {column})" for one, of in self.functions if of == kind]
            target = self.pick([column, column, f"({column} IS NULL)", *call])
            more = self.pick(["", "", f" INCLUDE ({self.pick(kinds)})", " NULLS NOT DISTINCT", f" WHERE {column} IS NOT NULL", " DESC NULLS LAST"])
            order, more = (more, "") if "DESC" in more else ("", more)
            unique = "UNIQUE " if method == "btree" and self.chance(20) else ""
            self.say(f"CREATE {unique}INDEX {name} ON {table.name} USING {method} ({target}{order}){more}")
            if self.chance(20):
                self.say(f"COMMENT ON INDEX {table.name.rsplit('.', 1)[0] if table.name.count('.') == 1 else 'public'}.{name} IS {self.text()}")
            if self.chance(10):
                self.say(self.pick([f"ALTER TABLE {table.name} CLUSTER ON {name}", f"ALTER TABLE {table.name} REPLICA IDENTITY USING INDEX {name}",
                                    f"ALTER TABLE {table.name} REPLICA IDENTITY FULL", f"ALTER TABLE {table.name} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"]))
        if kinds and self.chance(30):
            column = self.pick(kinds)
            self.say(self.pick([f"ALTER TABLE {table.name} ADD CONSTRAINT {self.ident()} UNIQUE ({column}) DEFERRABLE", f"ALTER TABLE {table.name} ADD UNIQUE NULLS NOT DISTINCT ({column})",
                                f"ALTER TABLE {table.name} ADD CONSTRAINT {self.ident()} EXCLUDE USING {self.pick(['gist', 'btree', 'spgist'])} ({column} WITH {self.pick(['=', '&&'])}) WHERE ({column} IS NOT NULL)"]))
        if len(kinds) > 1 and self.chance(30):
            statistics = self.qualified()
            self.say(f"CREATE STATISTICS {statistics} {self.pick(['', '(ndistinct)', '(mcv, dependencies)'])} ON {', '.join(self.r.sample(list(kinds), 2))} FROM {table.name}",
                     f"ALTER STATISTICS {statistics} SET STATISTICS 17", f"COMMENT ON STATISTICS {statistics} IS {self.text()}")

    def keys(self):
        keyed = [table for table in self.tables if table.key]
        for _ in range(self.r.randint(0, 4)):
            if not keyed:
                return
            target, source, column = self.pick(keyed), self.pick(self.tables), self.ident()
            extra = self.pick(["", " NOT VALID", " DEFERRABLE INITIALLY DEFERRED", " ON DELETE CASCADE ON UPDATE SET NULL", " MATCH FULL", " NOT ENFORCED"])
            self.say(f"ALTER TABLE {source.name} ADD COLUMN {column} {target.key_kind}", f"UPDATE {source.name} SET {column} = (SELECT min({target.key}) FROM {target.name})",
                     f"ALTER TABLE {source.name} ADD CONSTRAINT {self.ident()} FOREIGN KEY ({column}) REFERENCES {target.name}{extra}")

    def seen(self):
        relations = [table.name for table in self.tables]
        for _ in range(self.r.randint(0, 6)):
            name, under, alias = self.qualified(), self.pick(relations), self.ident()
            keyed = [table for table in self.tables if table.key]
            queries = [f"SELECT * FROM {under}", f"SELECT count(*) AS {alias} FROM {under}", f"SELECT {alias} FROM {under} AS {alias}",
                       f"SELECT {self.text()}::text AS {alias} UNION ALL SELECT NULL", f"WITH {alias} AS (SELECT * FROM {under}) SELECT row_number() OVER () AS r FROM {alias}"]
            if keyed:
                table = self.pick(keyed)
                queries.append(f"SELECT {', '.join(table.columns)} FROM {table.name} GROUP BY {table.key}")
            query = self.pick(queries)
            if self.chance(30):
                self.say(f"CREATE MATERIALIZED VIEW {name} AS {query} {self.pick(['WITH DATA', 'WITH DATA', 'WITH NO DATA'])}")
                self.matviews.append(name)
                if self.chance(40):
                    self.say(f"CREATE INDEX {self.ident()} ON {name} (({name}.*::text))", f"CREATE INDEX {self.ident()} ON {name} ({alias})")
            else:
                self.say(f"CREATE VIEW {name}{self.pick(['', '', ' WITH (security_barrier)', ' WITH (security_invoker = true)'])} AS {query}")
            relations.append(name)
            if self.chance(40):
                self.say(f"COMMENT ON VIEW {name} IS {self.text()}", f"GRANT SELECT ON {name} TO {self.role()}")
            if self.chance(20):
                self.say(f"CREATE RULE {self.ident()} AS ON {self.pick(['INSERT', 'UPDATE', 'DELETE'])} TO {name} DO {self.pick(['INSTEAD NOTHING', 'ALSO SELECT 1', 'INSTEAD (SELECT 1; NOTIFY x)'])}")
            if self.chance(15):
                self.say(f"CREATE FUNCTION {self.qualified()}() RETURNS SETOF {name} LANGUAGE sql BEGIN ATOMIC SELECT * FROM {name}; END")
            if self.chance(10):
                # A view that needs itself by way of a function.
                function = self.qualified()
                self.say(f"CREATE FUNCTION {function}({name}) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'", f"CREATE OR REPLACE VIEW {name} AS SELECT q.*, 1 AS {self.ident()} FROM ({query}) q")

    def watchers(self):
        for table in self.tables:
            name, trigger = table.name, self.ident()
            if self.chance(35):
                event = self.pick(["BEFORE INSERT OR UPDATE", "AFTER DELETE", "AFTER TRUNCATE", "BEFORE INSERT"])
                level = "STATEMENT" if "TRUNCATE" in event else self.pick(["ROW", "STATEMENT"])
                args = ", ".join(literal(self.raw()) for _ in range(self.r.randint(0, 3)))
                self.say(f"CREATE TRIGGER {trigger} {event} ON {name} FOR EACH {level} WHEN ({self.pick(['true', literal(self.raw()) + ' <> current_user'])}) EXECUTE FUNCTION public.rt_touch({args})")
                state = self.pick(["", "DISABLE TRIGGER", "ENABLE ALWAYS TRIGGER", "ENABLE REPLICA TRIGGER"])
                if state:
                    self.say(f"ALTER TABLE {name} {state} {trigger}")
                if self.chance(40):
                    self.say(f"COMMENT ON TRIGGER {trigger} ON {name} IS {self.text()}")
            if self.chance(8):
                self.say(f"CREATE CONSTRAINT TRIGGER {self.ident()} AFTER INSERT ON {name} DEFERRABLE FOR EACH ROW EXECUTE FUNCTION public.rt_touch()")
            if self.chance(8):
                self.say(f"CREATE RULE {self.ident()} AS ON {self.pick(['INSERT', 'DELETE'])} TO {name} DO {self.pick(['INSTEAD NOTHING', 'ALSO NOTHING'])}", f"ALTER TABLE {name} {self.pick(['DISABLE', 'ENABLE ALWAYS'])} RULE {trigger}")
            if self.chance(25):
                policy = self.ident()
                self.say(f"CREATE POLICY {policy} ON {name} AS {self.pick(['PERMISSIVE', 'RESTRICTIVE'])} FOR {self.pick(['ALL', 'SELECT', 'DELETE'])} TO {self.pick(['PUBLIC', self.role()])} USING (current_user <> {literal(self.raw())})",
                         f"ALTER TABLE {name} {self.pick(['ENABLE', 'DISABLE', 'FORCE'])} ROW LEVEL SECURITY", f"ALTER TABLE {name} {self.pick(['ENABLE', 'FORCE'])} ROW LEVEL SECURITY", f"COMMENT ON POLICY {policy} ON {name} IS {self.text()}")

    def large_objects(self):
        for n in range(self.r.randint(0, 5)):
            oid = 500000 + n * 7
            self.say(f"SELECT lo_from_bytea({oid}, {self.pick(VALUES_OF_OBJECTS)})")
            for _ in range(self.r.randint(0, 2)):
                self.say(self.pick([f"GRANT {self.pick(['SELECT', 'ALL'])} ON LARGE OBJECT {oid} TO {self.pick(['PUBLIC', self.role()])}{self.pick(['', ' WITH GRANT OPTION'])}", f"ALTER LARGE OBJECT {oid} OWNER TO {self.role()}",
                                    f"COMMENT ON LARGE OBJECT {oid} IS {self.text()}", f"REVOKE ALL ON LARGE OBJECT {oid} FROM postgres", f"SELECT lo_put({oid}, {self.r.randint(0, 90000)}, '\\xff')"]))

    def publications(self):
        for _ in range(self.r.randint(0, 2)):
            table, name = self.pick(self.tables), self.ident()
            column = f" ({self.pick(table.columns)})" if table.columns and self.chance(30) else ""
            self.say(f"CREATE PUBLICATION {name} " + self.pick(["FOR ALL TABLES", f"FOR TABLE {table.name}{column}", f"FOR TABLE ONLY {table.name} WHERE (true)",
                                                               f"FOR TABLES IN SCHEMA {self.pick(self.schemas)}", "WITH (publish_via_partition_root, publish = 'insert')"]),
                     f"COMMENT ON PUBLICATION {name} IS {self.text()}", f"ALTER PUBLICATION {name} OWNER TO {self.role()}")

    def last(self):
        for view in self.matviews:
            if self.chance(50):
                self.say(f"REFRESH MATERIALIZED VIEW {view}")
        if self.chance(30):
            function, name = self.qualified(), self.ident()
            self.say(f"CREATE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN {self.pick(['NULL', 'NULL', 'RAISE EXCEPTION $m$ no $m$'])}; END $f$",
                     f"CREATE EVENT TRIGGER {name} ON {self.pick(['ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite'])} EXECUTE FUNCTION {function}()",
                     f"ALTER EVENT TRIGGER {name} {self.pick(['ENABLE', 'DISABLE', 'ENABLE ALWAYS', 'ENABLE REPLICA'])}")
        settings = []
        for _ in range(self.r.randint(0, 4)):
            whom = self.pick(["DATABASE %I", "DATABASE %I", f"ROLE {self.role().replace('%', '%%')} IN DATABASE %I", "ROLE postgres IN DATABASE %I"])
            settings.append(f"ALTER {whom} SET {self.pick(SETTINGS)}")
        if self.chance(30):
            settings += [f"COMMENT ON DATABASE %I IS {self.text().replace('%', '%%')}", "REVOKE CONNECT ON DATABASE %I FROM PUBLIC", f"GRANT ALL ON DATABASE %I TO {self.role()} WITH GRANT OPTION"]
        if self.chance(20):
            settings += [f"ALTER DATABASE %I OWNER TO {self.role()}", "ALTER DATABASE %I CONNECTION LIMIT 50"]
        for setting in settings:
            self.say(f"DO $do$ BEGIN EXECUTE format($s${setting}$s$, current_database()); END $do$")

    def database(self):
        self.say("SET client_min_messages = error", "SET statement_timeout = '20s'")
        for step in [self.roles, self.spaces, self.types, self.sequences, self.routines]:
            step()
        for _ in range(self.r.randint(1, 6)):
            self.plain_table()
        for _ in range(self.r.randint(0, 2)):
            self.partitioned_table()
        for table in self.tables:
            self.rows(table)
            self.alterations(table)
            self.indexes(table)
            self.rows(table)
        for step in [self.keys, self.seen, self.watchers, self.large_objects, self.publications, self.last]:
            step()


VALUES_OF_OBJECTS = ["''", "'\\x00'", "convert_to(repeat('0123456789', 30000), 'UTF8')", "decode(repeat('00', 2048), 'hex')", "'\\x0d0a5c2e'"]
SETTINGS = ["search_path = '', \"a b\", public", "search_path = pg_catalog", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'", "bytea_output = 'escape'",
            "extra_float_digits = -5", "TimeZone = 'Asia/Kathmandu'", "standard_conforming_strings = off", "default_transaction_read_only = on",
            "session_replication_role = 'replica'", "row_security = off", "client_encoding = 'LATIN1'", "array_nulls = off", "quote_all_identifiers = on",
            "statement_timeout = '1h'", "lock_timeout = '1h'", "work_mem = '64kB'", "check_function_bodies = off", "backslash_quote = 'off'", "xmloption = 'document'",
            "default_transaction_isolation = 'serializable'", "lc_monetary = 'C'", "\"my.Own thing\" = E'a\\\\b''c'", "my.own = 'x, \"y\"'", "transform_null_equals = on",
            "temp_tablespaces = ''", "role = 'none'", "default_transaction_deferrable = on", "synchronize_seqscans = off", "enable_seqscan = off", "DateStyle = 'German'",
            "IntervalStyle = 'iso_8601'", "default_toast_compression = 'pglz'", "vacuum_freeze_min_age = 0", "default_statistics_target = 1", "application_name = 'x y'"]

if __name__ == "__main__":
    Generator(int(sys.argv[1])).database()
