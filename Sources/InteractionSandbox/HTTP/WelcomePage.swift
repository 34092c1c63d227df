// The page at `/`: what there is, and how to try it.

enum WelcomePage {
    static func text(host: String) -> String {
        let url = "http://\(host)"
        return """
            This is a sandbox: a stand-in for Salesforce's Interaction Service API and its token endpoint. Nothing here
            reaches Salesforce. HTTP statuses per error code are assumptions, since Salesforce does not publish them.

            ROUTE AND CLEAR
              POST   /api/v1/route            route a conversation (JSON, or multipart/form-data with one part `json`)
              DELETE /api/v1/route            clear the pending routings of a conversation
              POST   /services/oauth2/token   OAuth 2.0 JWT bearer flow

              curl -X POST \(url)/api/v1/route -H 'Authorization: Bearer any' -H 'Content-Type: application/json' \\
                -H 'OrgId: 00DSB0000000001' -H 'AuthorizationContext: Partner1_Channel1' \\
                -H 'RequestId: 7e0a3c52-6f0b-4a51-9f5e-0d7b2f6f6f01' \\
                -d '{"conversationIdentifier": "c0ffee00-0000-4000-8000-000000000001", "routingType": "Initial"}'

              curl -X DELETE \(url)/api/v1/route -H 'Authorization: Bearer any' -H 'Content-Type: application/json' \\
                -H 'OrgId: 00DSB0000000001' -H 'AuthorizationContext: Partner1_Channel1' \\
                -H 'RequestId: 7e0a3c52-6f0b-4a51-9f5e-0d7b2f6f6f02' \\
                -d '{"conversationIdentifier": "c0ffee00-0000-4000-8000-000000000001", "cancelReason": "Cancel"}'

            SEE WHAT HAPPENED
              GET    /sandbox/summary         figures at a glance
              GET    /sandbox/ledger          every request; ?requestId= conversation= org= since= after= limit= format=ndjson
              GET    /sandbox/effects         requests and effects by RequestId; ?minEffects=2 shows doubled ones; limit=
              GET    /sandbox/effects/ID      the same for one RequestId
              GET    /sandbox/psrs            pending service routings; ?conversation= org= state=waiting|accepted|cleared limit=
              POST   /sandbox/psrs/accept     a rep accepts what waits of ?conversation=
              DELETE /sandbox/ledger          forget requests and effects
              DELETE /sandbox/psrs            forget routings
              GET    /sandbox/health

              curl \(url)/sandbox/effects/7e0a3c52-6f0b-4a51-9f5e-0d7b2f6f6f01

            MAKE THINGS GO WRONG
              GET    /sandbox/faults          rules in force, with their hits
              POST   /sandbox/faults          add rules: shorthands, one a line, or JSON
              DELETE /sandbox/faults[/ID]     remove all, or one
              DELETE /sandbox/tokens          revoke ?token=, or those issued for ?org=, or all

              curl \(url)/sandbox/faults -d '503@2%'            2 of 100 requests are answered with 503, without effect
              curl \(url)/sandbox/faults -d '10019@x3'          the next three find the org read-only
              curl \(url)/sandbox/faults -d 'reset-after@x1'    the next takes effect, then its connection is reset
              curl \(url)/sandbox/faults -d 'latency=50-200'    every answer comes 50 to 200 ms late
              curl \(url)/sandbox/faults -d '{"action": "status", "status": 429, "retryAfter": "2", "next": 5,
                "match": {"org": "00DSB0000000001", "method": "POST"}}'

              Shorthand: what@rate. what: 503, 10019, 503:20004, 500-after, latency=MS[-MS], reset[-after], close[-after],
              hang[-after], slow-body (100 ms a byte), cut-body, not-json, empty-body, failure[:CODE] (2xx with success false).
              -after: the request takes effect all the same. rate: 2% of the requests, x3 the next three; none is every one.
              JSON: action, match {endpoint route|token, org, method, requestId, conversation}, probability or next,
              latencyMs, latencyMaxMs, status, code, message, retryAfter, body, byteIntervalMs, effect none|at-once|late.

            """
    }
}
