BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE associations (
	id INTEGER NOT NULL, 
	calling VARCHAR(16) NOT NULL, 
	called VARCHAR(16) NOT NULL, 
	address VARCHAR(64) NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	outcome VARCHAR(16), 
	reason TEXT, 
	objects INTEGER NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE copies (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	decision_id INTEGER, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	operations JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	made_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(decision_id) REFERENCES decisions (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	UNIQUE (film_id, digest)
);
CREATE TABLE decisions (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	act VARCHAR(16) NOT NULL, 
	mode VARCHAR(8) NOT NULL, 
	rule VARCHAR(64) NOT NULL, 
	why TEXT NOT NULL, 
	reasons JSON NOT NULL, 
	flags JSON NOT NULL, 
	trace JSON NOT NULL, 
	digests JSON NOT NULL, 
	decided_at DATETIME NOT NULL, 
	superseded BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "decisions" VALUES(1,1,1,'quarantine','enforce','blank','blank','["BLANK"]','[]','[]','{}','2026-11-20 12:00:00.000000',0);
CREATE TABLE deliveries (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	destination VARCHAR(64) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	error TEXT, 
	created_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	UNIQUE (film_id, destination, digest)
);
INSERT INTO "deliveries" VALUES(1,1,'archive','always','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','1.2','1.2.3','1.2.840.10008.1.2.1','delivered',1,'2026-11-20 12:00:00.000000',NULL,'2026-11-20 12:00:00.000000','2026-11-20 12:00:00.000000');
INSERT INTO "deliveries" VALUES(2,2,'archive','always','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','1.2','1.2.4','1.2.840.10008.1.2.1','pending',0,'2026-11-20 12:00:00.000000',NULL,'2026-11-20 12:00:00.000000',NULL);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	film_id INTEGER, 
	at DATETIME NOT NULL, 
	what VARCHAR(32) NOT NULL, 
	who VARCHAR(128) NOT NULL, 
	detail JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id)
);
INSERT INTO "events" VALUES(1,1,'2026-11-20 12:00:00.000000','received','listener','{"association": null}');
INSERT INTO "events" VALUES(2,2,'2026-11-20 12:00:00.000000','received','listener','{"association": null}');
INSERT INTO "events" VALUES(3,1,'2026-11-20 12:00:00.000000','decided','worker','{"act": "quarantine", "rule": "blank"}');
INSERT INTO "events" VALUES(4,1,'2026-11-20 12:00:00.000000','delivered','courier','{"destination": "archive"}');
CREATE TABLE findings (
	id INTEGER NOT NULL, 
	decision_id INTEGER NOT NULL, 
	of_copy BOOLEAN NOT NULL, 
	gate VARCHAR(32) NOT NULL, 
	verdict VARCHAR(8) NOT NULL, 
	body JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(decision_id) REFERENCES decisions (id)
);
INSERT INTO "findings" VALUES(1,1,0,'exposure','bad','{"score": 0.1, "low": 0.0, "high": 0.0, "reason": "BLANK", "detail": "", "box": null, "model_digest": "", "facts": {}}');
CREATE TABLE holds (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	decision_id INTEGER NOT NULL, 
	copy_id INTEGER, 
	takers JSON NOT NULL, 
	reasons JSON NOT NULL, 
	why TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	opened_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	closed_by VARCHAR(128), 
	note TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(copy_id) REFERENCES copies (id), 
	FOREIGN KEY(decision_id) REFERENCES decisions (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "holds" VALUES(1,1,1,1,NULL,'[]','["BLANK"]','blank','open','2026-11-20 12:00:00.000000',NULL,NULL,NULL);
CREATE TABLE instances (
	id INTEGER NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	received_at DATETIME NOT NULL, 
	ours BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (sop_instance_uid)
);
INSERT INTO "instances" VALUES(1,'1.2.3','1.2','2026-11-20 12:00:00.000000',0);
INSERT INTO "instances" VALUES(2,'1.2.4','1.2','2026-11-20 12:00:00.000000',0);
CREATE TABLE jobs (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	rank INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	token INTEGER NOT NULL, 
	beat INTEGER NOT NULL, 
	owner VARCHAR(128), 
	error TEXT, 
	created_at DATETIME NOT NULL, 
	done_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "jobs" VALUES(1,1,1,'done',1,1,1,0,'w',NULL,'2026-11-20 12:00:00.000000','2026-11-20 12:00:00.000000');
INSERT INTO "jobs" VALUES(2,2,2,'ready',1,0,0,0,NULL,NULL,'2026-11-20 12:00:00.000000',NULL);
CREATE TABLE versions (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	association_id INTEGER, 
	received_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(association_id) REFERENCES associations (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	UNIQUE (film_id, digest)
);
INSERT INTO "versions" VALUES(1,1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','1.2','1.2.840.10008.1.2.1',10,NULL,'2026-11-20 12:00:00.000000');
INSERT INTO "versions" VALUES(2,2,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','1.2','1.2.840.10008.1.2.1',10,NULL,'2026-11-20 12:00:00.000000');
CREATE INDEX ix_instances_received_at ON instances (received_at);
CREATE INDEX ix_deliveries_due ON deliveries (state, destination, next_at);
CREATE INDEX ix_deliveries_film_id ON deliveries (film_id);
CREATE INDEX ix_events_film_id ON events (film_id);
CREATE INDEX ix_versions_digest ON versions (digest);
CREATE INDEX ix_versions_film_id ON versions (film_id);
CREATE INDEX ix_decisions_film_id ON decisions (film_id);
CREATE INDEX ix_jobs_film_id ON jobs (film_id);
CREATE INDEX ix_jobs_state ON jobs (state, rank, id);
CREATE INDEX ix_copies_digest ON copies (digest);
CREATE INDEX ix_copies_film_id ON copies (film_id);
CREATE INDEX ix_copies_sop_instance_uid ON copies (sop_instance_uid);
CREATE INDEX ix_findings_decision_id ON findings (decision_id);
CREATE INDEX ix_holds_film_id ON holds (film_id);
CREATE INDEX ix_holds_state ON holds (state);
COMMIT;
