// A dead letter to begin with, and the orgs of a configuration.

import AMQPMessage
import DeadLetters
import RoutingContract

enum Sample {
    static let now = Timestamp(rfc3339: "2026-03-01T12:00:00Z")!
    static let request = "3f6c2b1e-8d4a-4f57-9a61-0b2c7d9e1f30"
    static let names = OrgNames([
        (OrgID("00D000000000001")!, "acme"), (OrgID("00D000000000002")!, "globex"),
    ])

    /// - Parameter after: seconds after `now` when it was dead-lettered.
    static func letter(
        _ outcome: String = "rejected", reason: String = "refused", request: String = request, org: String = "acme",
        after: Int64 = 0
    ) -> DeadLetter {
        let headers: FieldTable = [
            "Command": .string("route"), "RequestId": .string(request), "OrgId": .string(org),
            "Outcome": .string(outcome), "Reason": .string(reason), "Error": .string("no flow"),
            "DeadLetteredAt": .string((now + .seconds(after)).rfc3339),
        ]
        return DeadLetter(
            Message(properties: MessageProperties(headers: headers, messageID: "m"), body: Array(#"{"secret":1}"#.utf8))
        )
    }
}
