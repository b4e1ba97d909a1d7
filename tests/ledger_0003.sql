BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
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
INSERT INTO "associations" VALUES(1,'ROOM3','FILMGATE','127.0.0.1','2026-03-02 08:15:00.000000','2026-03-02 08:18:00.000000','released',NULL,2,2000);
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
INSERT INTO "decisions" VALUES(1,1,1,'quarantine','enforce','not sure','a gate is not sure','["ROTATION_UNSURE"]','[]','[]','{}','2026-03-02 08:16:00.000000',0);
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
INSERT INTO "deliveries" VALUES(1,1,'archive','always','1111111111111111111111111111111111111111111111111111111111111111','1.2.840.10008.5.1.4.1.1.1','1.2.3.1','1.2.840.10008.1.2.1','pending',0,'2026-03-02 08:16:00.000000',NULL,'2026-03-02 08:16:00.000000',NULL);
INSERT INTO "deliveries" VALUES(2,2,'archive','always','2222222222222222222222222222222222222222222222222222222222222222','1.2.840.10008.5.1.4.1.1.1','1.2.3.2','1.2.840.10008.1.2.1','pending',0,'2026-03-02 08:17:00.000000',NULL,'2026-03-02 08:17:00.000000',NULL);
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
INSERT INTO "events" VALUES(1,1,'2026-03-02 08:16:00.000000','received','listener','{"association": 1}');
INSERT INTO "events" VALUES(2,1,'2026-03-02 08:16:00.000000','decided','worker','{"act": "quarantine", "rule": "not sure"}');
INSERT INTO "events" VALUES(3,2,'2026-03-02 08:17:00.000000','received','listener','{"association": 1}');
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
INSERT INTO "findings" VALUES(1,1,0,'header','bad','{"score": 0.0, "low": 0.0, "high": 0.0, "reason": "COMPANION", "detail": "ImageType or Series Description says companion", "box": null, "model_digest": "", "facts": {}}');
INSERT INTO "findings" VALUES(2,1,0,'rotation','unsure','{"score": 0.6, "low": 0.1, "high": 0.9, "reason": "ROTATION_UNSURE", "detail": "", "box": null, "model_digest": "", "facts": {}}');
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
	note TEXT, words JSON, 
	PRIMARY KEY (id), 
	FOREIGN KEY(copy_id) REFERENCES copies (id), 
	FOREIGN KEY(decision_id) REFERENCES decisions (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "holds" VALUES(1,1,1,1,NULL,'["chest-ai"]','["ROTATION_UNSURE"]','a gate is not sure','open','2026-03-02 08:16:00.000000',NULL,NULL,NULL,NULL);
CREATE TABLE instances (
	id INTEGER NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	received_at DATETIME NOT NULL, 
	ours BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (sop_instance_uid)
);
INSERT INTO "instances" VALUES(1,'1.2.3.1','1.2.840.10008.5.1.4.1.1.1','2026-03-02 08:16:00.000000',0);
INSERT INTO "instances" VALUES(2,'1.2.3.2','1.2.840.10008.5.1.4.1.1.1','2026-03-02 08:17:00.000000',0);
CREATE TABLE "jobs" (
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
	delivery_id INTEGER, 
	PRIMARY KEY (id), 
	CONSTRAINT fk_jobs_delivery_id FOREIGN KEY(delivery_id) REFERENCES deliveries (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "jobs" VALUES(1,1,1,'done',0,1,1,0,'w:1',NULL,'2026-03-02 08:16:00.000000','2026-03-02 08:16:00.000000',NULL);
INSERT INTO "jobs" VALUES(2,2,2,'ready',1,0,0,0,NULL,NULL,'2026-03-02 08:17:00.000000',NULL,NULL);
CREATE TABLE objects (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	result_id INTEGER, 
	kind VARCHAR(16) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	made_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id), 
	FOREIGN KEY(result_id) REFERENCES results (id), 
	UNIQUE (film_id, digest)
);
CREATE TABLE results (
	id INTEGER NOT NULL, 
	film_id INTEGER NOT NULL, 
	delivery_id INTEGER, 
	classifier VARCHAR(64) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	model_digest VARCHAR(64) NOT NULL, 
	body JSON NOT NULL, 
	made_at DATETIME NOT NULL, 
	superseded BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(delivery_id) REFERENCES deliveries (id), 
	FOREIGN KEY(film_id) REFERENCES instances (id)
);
CREATE TABLE rulings (
	id INTEGER NOT NULL, 
	sender VARCHAR(16) NOT NULL, 
	word VARCHAR(32) NOT NULL, 
	answer VARCHAR(8) NOT NULL, 
	said_by VARCHAR(128) NOT NULL, 
	said_at DATETIME NOT NULL, 
	note TEXT NOT NULL, 
	ended_by VARCHAR(128), 
	ended_at DATETIME, 
	PRIMARY KEY (id)
);
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
INSERT INTO "versions" VALUES(1,1,'1111111111111111111111111111111111111111111111111111111111111111','1.2.840.10008.5.1.4.1.1.1','1.2.840.10008.1.2.1',1000,1,'2026-03-02 08:16:00.000000');
INSERT INTO "versions" VALUES(2,2,'2222222222222222222222222222222222222222222222222222222222222222','1.2.840.10008.5.1.4.1.1.1','1.2.840.10008.1.2.1',1000,1,'2026-03-02 08:17:00.000000');
CREATE INDEX ix_instances_received_at ON instances (received_at);
CREATE INDEX ix_deliveries_due ON deliveries (state, destination, next_at);
CREATE INDEX ix_deliveries_film_id ON deliveries (film_id);
CREATE INDEX ix_events_film_id ON events (film_id);
CREATE INDEX ix_versions_digest ON versions (digest);
CREATE INDEX ix_versions_film_id ON versions (film_id);
CREATE INDEX ix_decisions_film_id ON decisions (film_id);
CREATE INDEX ix_copies_digest ON copies (digest);
CREATE INDEX ix_copies_film_id ON copies (film_id);
CREATE INDEX ix_copies_sop_instance_uid ON copies (sop_instance_uid);
CREATE INDEX ix_findings_decision_id ON findings (decision_id);
CREATE INDEX ix_holds_film_id ON holds (film_id);
CREATE INDEX ix_holds_state ON holds (state);
CREATE INDEX ix_jobs_film_id ON jobs (film_id);
CREATE INDEX ix_jobs_state ON jobs (state, rank, id);
CREATE INDEX ix_jobs_delivery_id ON jobs (delivery_id);
CREATE INDEX ix_results_film_id ON results (film_id);
CREATE INDEX ix_objects_digest ON objects (digest);
CREATE INDEX ix_objects_film_id ON objects (film_id);
CREATE INDEX ix_objects_result_id ON objects (result_id);
CREATE INDEX ix_objects_sop_instance_uid ON objects (sop_instance_uid);
CREATE INDEX ix_rulings_sender ON rulings (sender, word);
COMMIT;
