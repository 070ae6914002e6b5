-- +goose Up

-- acl are the access control lists; mailbox 0 is the whole account's. identifier is as package acl stores it.
CREATE TABLE acl (
  account    INTEGER NOT NULL,
  mailbox    INTEGER NOT NULL,
  identifier TEXT    NOT NULL,
  rights     TEXT    NOT NULL,
  PRIMARY KEY (account, mailbox, identifier)
) WITHOUT ROWID;

-- share are hints for grantees: which accounts have something for an identifier. Its distribution key is the identifier; a
-- hint too many costs a look, and one is there as long as any list of the account gives the identifier something.
CREATE TABLE share (
  identifier TEXT    NOT NULL,
  account    INTEGER NOT NULL,
  PRIMARY KEY (identifier, account)
) WITHOUT ROWID;
