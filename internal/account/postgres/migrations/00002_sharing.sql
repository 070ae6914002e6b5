-- +goose Up
-- directory_group are the groups that access control lists name, and directory_member their accounts, by id.
-- directory_shared marks accounts that several work in.
CREATE TABLE directory_group (
    name text COLLATE "C" NOT NULL PRIMARY KEY
);
CREATE TABLE directory_member (
    grp     text   COLLATE "C" NOT NULL,
    account bigint NOT NULL,
    PRIMARY KEY (grp, account)
);
CREATE INDEX directory_member_account ON directory_member (account);
CREATE TABLE directory_shared (
    account bigint NOT NULL PRIMARY KEY
);
