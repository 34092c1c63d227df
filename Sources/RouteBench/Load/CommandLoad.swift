// The commands of a run: the same shape for every contestant, another RequestId and conversation for each.

import AMQPMessage
import RoutingContract

/// Makes commands by their number. Their RequestIds look random, as a platform's do, and can be made again for the audit.
struct CommandLoad: Sendable {
    static let org = "00DSB0000000001"

    /// Who the commands are for, in turn.
    let orgs: [String]
    /// Tells the runs apart, so that a store that serves several never has seen a RequestId.
    private let seed: UInt64
    let queue: String

    init(queue: String, orgs: [String] = [Self.org]) {
        seed = .random(in: .min ... .max)
        self.queue = queue
        self.orgs = orgs
    }

    func requestID(_ index: Int) -> RequestID {
        var generator = SeededGenerator(seed: seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15)
        return .random(using: &generator)
    }

    /// A route by flow with two attributes: a body of 300 bytes and the headers that a platform sends.
    func message(_ index: Int) -> OutgoingMessage {
        let id = requestID(index).description
        let body =
            #"{"conversationIdentifier":"\#(id)","routingType":"Initial","routingInfo":{"flow":"#
            + #"{"flowId":"300SB0000000001AAA","queueId":"00GSB0000000001AAA"},"routingAttributes":"#
            + #"{"language":"de","priority":"high","segment":"premium","intent":"billing","skill":"invoices","#
            + #""channel":"whatsapp"}}}"#
        let headers: FieldTable = [
            "RequestId": .string(id), "OrgId": .string(orgs[index % orgs.count]),
            "AuthorizationContext": .string("Partner1_Channel1"),
        ]
        return OutgoingMessage(
            Message(
                properties: MessageProperties(
                    contentType: "application/json", headers: headers, deliveryMode: 2, correlationID: String(index),
                    messageID: id, type: "route"),
                body: Array(body.utf8)),
            routingKey: queue)
    }
}
