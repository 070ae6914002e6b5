-- +goose Up

-- acl are the access control lists; mailbox 0 is the whole account's. identifier is as package acl stores it.
CREATE TABLE acl (
  account    bigint NOT NULL,
  mailbox    bigint NOT NULL,
  identifier text   COLLATE "C" NOT NULL,
  rights     text   COLLATE "C" NOT NULL,
  PRIMARY KEY (account, mailbox, identifier)
);

-- share are hints for grantees: which accounts have something for an identifier. Its distribution key is the identifier; a
-- hint too many costs a look, and one is there as long as any list of the account gives the identifier something.
CREATE TABLE share (
  identifier text   COLLATE "C" NOT NULL,
  account    bigint NOT NULL,
  PRIMARY KEY (identifier, account)
);
