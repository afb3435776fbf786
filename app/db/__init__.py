"""The only SQLAlchemy code: sessions, tables, one store per aggregate."""
