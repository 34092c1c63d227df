// A settings file to start from; a test loads it.

extension Settings {
    /// A commented file with every section: sets what a first worker needs, and shows the rest with its defaults.
    public static let example = """
        # Settings of route-worker. Durations: 500ms, 30s, 5m, 24h, 14d. Sizes: 512B, 256KiB, 1MiB.
        # Every key outside queues: and orgs: can also be set by an environment variable, which goes over this file:
        # worker.drainTimeout is WORKER_DRAIN_TIMEOUT.

        worker:
          # name: worker-1             # default: host name, hyphen, process id
          concurrency: 64              # commands in work at one time
          drainTimeout: 30s

        amqp:
          # Keep a password out of this file: AMQP_URL=amqps://worker:secret@rabbit-1:5671/ (several: with commas)
          url: amqp://127.0.0.1:5672/
          # caFile: /etc/route-worker/broker-ca.pem
          # For check alone, to see policies as well: AMQP_MANAGEMENT_URL=https://monitor:secret@rabbit-1:15671
          # managementURL: http://127.0.0.1:15672
          # certificateFile: /etc/route-worker/client.pem
          # keyFile: /etc/route-worker/client.key
          heartbeat: 30s
          connectTimeout: 10s
          reconnect: {minimum: 250ms, maximum: 5s}

        queues:
          routing.commands:
            prefetch: 128
          routing.transfers:           # transfers need not wait behind a backlog of initial routes
            prefetch: 32
            concurrency: 8             # kept free for this queue
            # defaultOrg: acme         # for commands that name no org
            # defaultContext: Partner1_Channel1
            # allowedOrgs: [acme]      # all, where it is left out

        answers:
          queue: routing.results
          deadLetterQueue: routing.dead-letters
          # Where a command's reply_to may point: a queue, a prefix, direct reply-to. `send --wait` needs routing.replies.*
          allowReplyTo: ["amq.rabbitmq.reply-to", "routing.replies.*", "platform.replies.*"]
          copyDirectReplies: true
          confirmTimeout: 30s

        deadLetters:
          auditQueue: routing.audit    # who replayed, discarded or resolved what, when and why
          # maximumAge: 30d            # for `dead-letters discard --overdue`

        controls:
          enabled: true
          queue: routing.controls      # what operators said by `pause`, `resume` and `mode`

        store:
          url: sqlite:route-worker.db  # memory: keeps nothing; or postgres://…, redis://…, rediss://…
          # caFile: /etc/route-worker/store-ca.pem
          retention: 24h
          failureRetention: 14d
          lease: 60s                   # longer than callTimeout + timeout + 5s
          timeout: 5s
          linger: 0

        commands:
          maximumBody: 256KiB
          maximumDepth: 64
          futureTolerance: 5m
          transferDeadline: 40s
          honourReplay: false
          replayQueue: routing.commands.replay   # for replayed dead letters; the worker consumes it too
          # partitions: 16             # keeps a conversation's order across workers; see README and OPERATING.md first
          partitionExchange: routing.commands.partitioned

        http:
          connectTimeout: 5s
          # caFile: /etc/route-worker/salesforce-ca.pem
          # proxy: http://proxy.example.com:3128
          maximumConnections: 64
          idleTimeout: 4s
          maximumAnswer: 256KiB

        # For every org that does not say otherwise.
        defaults:
          validation: lenient          # or strict
          callTimeout: 10s
          bodyFormat: json             # or multipart
          unknownEffect: report        # or retry, clear-then-route: both may give two effects
          retry: {attempts: 10, budget: 120s, minimum: 200ms, maximum: 20s}
          # rateLimit: 100             # calls a second, of all workers together
          # An org whose calls fail, or without a token, is parked on the broker, and comes back after a probe.
          parking: true
          breaker: {failurePercent: 50, minimumCalls: 5, window: 30s}
          probe: {minimum: 1s, maximum: 60s}

        # Orgs can also stand in files of their own, ALIAS.yaml, each with the keys that stand under its alias here. A bad
        # file stops its org alone. SIGHUP makes a worker read all of it again.
        # orgsFolder: /etc/route-worker/orgs

        orgs:
          acme:                        # the alias that commands may use as OrgId
            id: 00D000000000001AAA
            baseURL: https://acme.my.salesforce-scrt.com
            tokenFile: /etc/route-worker/acme.token
            defaultContext: Partner1_Channel1
          globex:
            id: 00D000000000002AAA
            baseURL: https://globex.my.salesforce-scrt.com
            tokenFile: /etc/route-worker/globex.token   # or tokenEnvironment: GLOBEX_TOKEN
            callTimeout: 5s
            maximumConcurrency: 16
          initech:                     # the worker gets this org's tokens itself (OAuth 2.0 JWT bearer flow)
            id: 00D000000000003AAA
            baseURL: https://initech.my.salesforce-scrt.com
            oauth:
              tokenURL: https://initech.my.salesforce.com/services/oauth2/token
              clientId: CONSUMER_KEY
              username: routing@initech.example.com
              audience: https://login.salesforce.com      # a sandbox: https://test.salesforce.com
              # Tried in this order, so that a new certificate can be uploaded while the old one still holds.
              keyFiles: [/etc/route-worker/initech-new.key, /etc/route-worker/initech.key]

        admin:                         # /livez, /readyz and /metrics; without access control
          enabled: true
          address: 127.0.0.1:9464
          livenessLimit: 2m

        log:
          level: info
          format: human                # or json
          buffer: 1MiB                 # lines that nobody takes in time are dropped, and counted

        """
}
