// The same job as a straightforward worker in Go, for comparison: consume, validate, deduplicate on RequestId in Redis,
// call, publish the answer with confirm, acknowledge. amqp091-go, net/http, redigo; one goroutine per command in work.
// It keeps fewer promises than route-worker: no retries, no order, no leases, no dead letters.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"
	amqp "github.com/rabbitmq/amqp091-go"
)

type payload struct {
	ConversationIdentifier string `json:"conversationIdentifier"`
	RoutingType            string `json:"routingType"`
	RoutingInfo            *struct {
		QueueID string `json:"queueId"`
		Flow    *struct {
			FlowID  string `json:"flowId"`
			QueueID string `json:"queueId"`
		} `json:"flow"`
		RoutingAttributes map[string]string `json:"routingAttributes"`
	} `json:"routingInfo"`
}

type command struct {
	requestID, org, authorizationContext string
	payload                              payload
}

type apiAnswer struct {
	Success *bool  `json:"success"`
	PsrID   string `json:"psrId"`
}

type answer struct {
	SchemaVersion          int             `json:"schemaVersion"`
	RequestID              string          `json:"requestId"`
	OrgID                  string          `json:"orgId"`
	Command                string          `json:"command"`
	ConversationIdentifier string          `json:"conversationIdentifier"`
	Outcome                string          `json:"outcome"`
	HTTPStatus             int             `json:"httpStatus"`
	Response               json.RawMessage `json:"response"`
	Attempts               int             `json:"attempts"`
	ReceivedAt             time.Time       `json:"receivedAt"`
	CompletedAt            time.Time       `json:"completedAt"`
}

type worker struct {
	api, token, results string
	client              *http.Client
	store               *redis.Pool
	channel             *amqp.Channel
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

func read(d *amqp.Delivery) (c command, err error) {
	c.requestID, _ = d.Headers["RequestId"].(string)
	c.org, _ = d.Headers["OrgId"].(string)
	c.authorizationContext, _ = d.Headers["AuthorizationContext"].(string)
	if d.Type != "route" || !uuid.MatchString(c.requestID) || c.org == "" || c.authorizationContext == "" {
		return c, errors.New("a header is missing or malformed")
	}
	if err = json.Unmarshal(d.Body, &c.payload); err != nil {
		return c, err
	}
	info := c.payload.RoutingInfo
	if c.payload.ConversationIdentifier == "" || c.payload.RoutingType == "" ||
		(info != nil && info.Flow != nil && (info.QueueID != "" || info.Flow.FlowID == "" || info.Flow.QueueID == "")) {
		return c, errors.New("the payload breaks the contract")
	}
	return c, nil
}

func (w *worker) call(c command, body []byte) (int, []byte, error) {
	request, err := http.NewRequest("POST", w.api+"/api/v1/route", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+w.token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("OrgId", c.org)
	request.Header.Set("AuthorizationContext", c.authorizationContext)
	request.Header.Set("RequestId", c.requestID)
	response, err := w.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 256<<10))
	return response.StatusCode, text, err
}

// outcome answers with what is recorded, or claims, calls and records.
func (w *worker) outcome(c command, body []byte) ([]byte, string, error) {
	received := time.Now()
	connection := w.store.Get()
	defer connection.Close()
	key := "route:" + c.org + ":" + c.requestID
	claimed, err := redis.String(connection.Do("SET", key, "claimed", "NX", "EX", 60))
	if err != nil && err != redis.ErrNil {
		return nil, "", err
	}
	if claimed != "OK" {
		recorded, err := redis.Bytes(connection.Do("GET", key))
		return recorded, "succeeded", err
	}
	status, text, err := w.call(c, body)
	if err != nil {
		return nil, "", err
	}
	outcome := "rejected"
	var result apiAnswer
	if json.Unmarshal(text, &result) == nil && status/100 == 2 && (result.Success == nil || *result.Success) {
		outcome = "succeeded"
	}
	encoded, err := json.Marshal(answer{1, c.requestID, c.org, "route", c.payload.ConversationIdentifier, outcome,
		status, text, 1, received, time.Now()})
	if err != nil {
		return nil, "", err
	}
	_, err = connection.Do("SET", key, encoded, "EX", 86400)
	return encoded, outcome, err
}

func (w *worker) settle(d *amqp.Delivery) {
	c, err := read(d)
	if err != nil {
		log.Printf("invalid: %v", err)
		d.Reject(false)
		return
	}
	body, outcome, err := w.outcome(c, d.Body)
	if err != nil {
		log.Printf("failed requestId=%s: %v", c.requestID, err)
		d.Nack(false, true)
		return
	}
	confirm, err := w.channel.PublishWithDeferredConfirmWithContext(context.Background(), "", w.results, true, false,
		amqp.Publishing{ContentType: "application/json", DeliveryMode: 2, CorrelationId: d.CorrelationId,
			MessageId: c.requestID, Type: "route.result", Timestamp: time.Now(),
			Headers: amqp.Table{"RequestId": c.requestID, "OrgId": c.org, "Outcome": outcome}, Body: body})
	if err != nil || !confirm.Wait() {
		log.Printf("not confirmed requestId=%s: %v", c.requestID, err)
		d.Nack(false, true)
		return
	}
	d.Ack(false)
	log.Printf("%s org=%s requestId=%s conversation=%s", outcome, c.org, c.requestID, c.payload.ConversationIdentifier)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	concurrency, err := strconv.Atoi(os.Getenv("CONCURRENCY"))
	check(err)
	consuming, err := amqp.Dial(os.Getenv("AMQP_URL"))
	check(err)
	publishing, err := amqp.Dial(os.Getenv("AMQP_URL"))
	check(err)
	in, err := consuming.Channel()
	check(err)
	out, err := publishing.Channel()
	check(err)
	check(out.Confirm(false))
	check(in.Qos(2*concurrency, 0, false))
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = concurrency, concurrency
	w := &worker{api: os.Getenv("API_URL"), token: os.Getenv("API_TOKEN"), results: os.Getenv("RESULTS_QUEUE"),
		channel: out, client: &http.Client{Transport: transport, Timeout: 10 * time.Second},
		store: &redis.Pool{MaxIdle: concurrency, MaxActive: concurrency, Wait: true,
			Dial: func() (redis.Conn, error) { return redis.DialURL(os.Getenv("REDIS_URL")) }}}
	deliveries, err := in.Consume(os.Getenv("COMMANDS_QUEUE"), "worker", false, false, false, false, nil)
	check(err)

	var running sync.WaitGroup
	for i := 0; i < concurrency; i++ {
		running.Add(1)
		go func() {
			defer running.Done()
			for delivery := range deliveries {
				w.settle(&delivery)
			}
		}()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	check(in.Cancel("worker", false))
	running.Wait()
	check(consuming.Close())
	check(publishing.Close())
}
