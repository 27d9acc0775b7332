-- Who changed and who ordered: the role of a token, and what a client says of its user; never a secret.
alter table switch add column made_by text not null default '';
alter table decision add column made_by text not null default '';
