-- +goose Up
-- grp are the groups that access control lists name, and member their accounts, by id. shared marks accounts that several
-- work in.
CREATE TABLE grp (
    name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE member (
    grp     TEXT    NOT NULL,
    account INTEGER NOT NULL,
    PRIMARY KEY (grp, account)
) WITHOUT ROWID;
CREATE INDEX member_by_account ON member (account);
CREATE TABLE shared (
    account INTEGER NOT NULL PRIMARY KEY
);

-- +goose Down
DROP TABLE shared;
DROP TABLE member;
DROP TABLE grp;
