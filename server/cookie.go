package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

const (
	// cookieKeySize is that of AES-256, in bytes.
	cookieKeySize = 32

	// maxCookie bounds a cookie in bytes: browsers keep 4,096 (RFC 6265bis,
	// Section 5.6).
	maxCookie = 4000
)

// errForeignCookie is returned for a cookie that was not sealed with the key.
var errForeignCookie = errors.New("not a cookie of this server")

// sealedCookies keep values in the browser that nobody else can read or make:
// AES-256-GCM over the value's JSON, bound to the cookie's name.
type sealedCookies struct {
	aead   cipher.AEAD
	secure bool // people reach the server over https
}

func newSealedCookies(key []byte, secure bool) (*sealedCookies, error) {
	if len(key) != cookieKeySize {
		return nil, errors.New("the key is not 32 bytes long")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealedCookies{aead: aead, secure: secure}, nil
}

// set has the browser keep a value for a time.
func (c *sealedCookies) set(w http.ResponseWriter, name string, value any, lasts time.Duration) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}

	nonce := make([]byte, c.aead.NonceSize())
	rand.Read(nonce)
	sealed := c.aead.Seal(nonce, nonce, text, []byte(name))

	cookie := c.cookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(lasts.Seconds()))
	if len(cookie.String()) > maxCookie {
		return errors.New("the sign-in does not fit a cookie")
	}
	http.SetCookie(w, cookie)
	return nil
}

// get reads a value that set had the browser keep. It does not know how long the
// value should last, and a browser need not forget it: the caller checks that.
func (c *sealedCookies) get(r *http.Request, name string, value any) error {
	cookie, err := r.Cookie(c.fullName(name))
	if err != nil {
		return err
	}

	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(sealed) < c.aead.NonceSize() {
		return errForeignCookie
	}
	nonce := sealed[:c.aead.NonceSize()]
	text, err := c.aead.Open(nil, nonce, sealed[len(nonce):], []byte(name))
	if err != nil {
		return errForeignCookie
	}
	return json.Unmarshal(text, value)
}

// drop has the browser forget a value.
func (c *sealedCookies) drop(w http.ResponseWriter, name string) {
	http.SetCookie(w, c.cookie(name, "", -1))
}

func (c *sealedCookies) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name:     c.fullName(name),
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		Secure:   c.secure,
		SameSite: http.SameSiteLaxMode,
	}
}

// fullName adds the prefix that binds a cookie to this very host (RFC 6265bis,
// Section 4.1.3.2), which browsers accept over https alone.
func (c *sealedCookies) fullName(name string) string {
	if c.secure {
		return "__Host-" + name
	}
	return name
}
