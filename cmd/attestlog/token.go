package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Create a token, and print it once."`
	List   tokenListCmd   `cmd:"" help:"List the tokens, without their secrets."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token."`
}

func (tokenCmd) Help() string {
	return `Tokens are stored next to the log, as hashes, for all servers of the log.

Examples:
  attestlog token create 'webmail, production' --scope append
  attestlog token list
  attestlog token revoke 4f2kq7xw`
}

type tokenCreateCmd struct {
	Note    string        `arg:"" help:"Who or what it is for." name:"NOTE"`
	Scopes  []string      `help:"What it may do: append, read, verify, admin, with commas between them." name:"scope" required:"" placeholder:"SCOPE"`
	Tenant  string        `help:"Limit it to this tenant's entries." placeholder:"TENANT"`
	Actor   string        `help:"Limit it to this actor's entries." placeholder:"ACTOR"`
	Expires time.Duration `help:"End it after this time, such as 2160h. Defaults to never."`
}

func (tokenCreateCmd) Help() string {
	return `Examples:
  attestlog token create 'webmail, production' --scope append
  attestlog token create auditor --scope read,verify --expires 720h
  attestlog token create 'acme portal' --scope read --tenant acme`
}

func (c *tokenCreateCmd) Run(a *app) error {
	return a.withTokens(true, func(log *attestlog.Log, store server.TokenStore) error {
		if c.Expires < 0 {
			return fmt.Errorf("--expires %s: that has passed", c.Expires)
		}
		t := server.Token{Note: c.Note, Scopes: c.Scopes, Tenant: c.Tenant, Actor: c.Actor}
		if c.Expires > 0 {
			t.Expires = time.Now().Add(c.Expires).UTC().Truncate(time.Second)
		}

		secret, err := server.CreateToken(a.ctx, store, &t)
		if err != nil {
			return err
		}
		err = logTokenChange(a.ctx, log, "token.create", &t)
		if err != nil {
			return err
		}

		_, err = fmt.Fprintln(a.stdout, secret)
		if err != nil {
			return hinted{fmt.Errorf("print the token: %v", err), "attestlog token revoke " + t.ID + " ends it"}
		}
		a.say("token %s was created; this is the only time that it is shown", t.ID)
		return nil
	})
}

type tokenListCmd struct{}

func (c *tokenListCmd) Run(a *app) error {
	return a.readingHere(func(_ *attestlog.Log, store attestlog.Store) error {
		tokens, err := server.ListTokens(a.ctx, store.(server.TokenStore))
		if err != nil {
			return err
		}

		now := time.Now()
		for i := range tokens {
			t := &tokens[i]
			limits := ""
			if t.Tenant != "" {
				limits += "  tenant:" + cleanLine(t.Tenant)
			}
			if t.Actor != "" {
				limits += "  actor:" + cleanLine(t.Actor)
			}
			fmt.Fprintf(a.stdout, "%s  %-28s  %-20s  made %s%s  %s\n", t.ID, tokenState(t, now),
				strings.Join(t.Scopes, ","), t.Made.Format(time.RFC3339), limits, cleanLine(t.Note))
		}
		return nil
	})
}

func tokenState(t *server.Token, now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked " + t.Revoked.Format(time.RFC3339)
	case t.Expires.IsZero():
		return "valid"
	case now.After(t.Expires):
		return "expired " + t.Expires.Format(time.RFC3339)
	}
	return "until " + t.Expires.Format(time.RFC3339)
}

type tokenRevokeCmd struct {
	ID string `arg:"" help:"The token's id, which is between al_ and the secret." name:"ID"`
}

func (c *tokenRevokeCmd) Run(a *app) error {
	return a.withTokens(false, func(log *attestlog.Log, store server.TokenStore) error {
		// The whole token may be given: al_ID_SECRET.
		id, _, _ := strings.Cut(strings.TrimPrefix(c.ID, "al_"), "_")

		t, err := server.RevokeToken(a.ctx, store, id, time.Now())
		if errors.Is(err, attestlog.ErrNotFound) {
			return hinted{fmt.Errorf("there is no token %q", id), "attestlog token list shows them"}
		}
		if err != nil {
			return err
		}
		return logTokenChange(a.ctx, log, "token.revoke", &t)
	})
}

// withTokens runs fn with the log open for writing, and its tokens.
func (a *app) withTokens(create bool, fn func(*attestlog.Log, server.TokenStore) error) error {
	log, store, err := a.open(openOptions{create: create, write: true})
	if err != nil {
		return err
	}
	return errors.Join(fn(log, store.(server.TokenStore)), a.closeLog(log))
}

// logTokenChange appends an entry that says what was done with a token.
func logTokenChange(ctx context.Context, log *attestlog.Log, action string, t *server.Token) error {
	attributes := map[string]any{"scopes": t.Scopes}
	if t.Tenant != "" {
		attributes["tenant"] = t.Tenant
	}
	if t.Actor != "" {
		attributes["actor"] = t.Actor
	}
	if !t.Expires.IsZero() {
		attributes["expires"] = t.Expires.Format(time.RFC3339)
	}

	_, err := log.Append(ctx, attestlog.Event{
		Service:    "attestlog",
		Module:     "token",
		Action:     action,
		Operation:  strings.TrimPrefix(action, "token."),
		Outcome:    attestlog.Success,
		Actor:      osActor(),
		Targets:    []attestlog.Target{{Type: "token", ID: t.ID, Name: t.Note}},
		Attributes: attributes,
	})
	return err
}

// osActor is the user that runs the program, as an actor.
func osActor() attestlog.Actor {
	u, err := user.Current()
	if err != nil {
		return attestlog.Actor{ID: "attestlog", Type: "system"}
	}
	return attestlog.Actor{ID: "os/" + u.Username, Type: "user"}
}
