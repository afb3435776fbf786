#!/bin/sh
# Run once by the image of PostgreSQL, when it makes the cluster: base backups and the receiver of the log may connect.
echo "host replication postgres all scram-sha-256" >>"$PGDATA/pg_hba.conf"
