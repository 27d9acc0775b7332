-- Statements that run outside of the product's database.

-- name: database_exists
select 1 from pg_database where datname = 'tidegate';

-- name: create_database
create database tidegate;
