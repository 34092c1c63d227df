// Commands made up, for trials and tests: every way of routing, with duplicates and malformed ones mixed in.

import AMQPMessage
import RoutingContract

/// Makes commands up, the same ones for the same seed.
public struct CommandGenerator: Sendable {
    /// What is mixed in, each as a share of all, 0 to 1.
    public struct Mix: Sendable, Hashable {
        /// Commands sent before, sent again.
        public var duplicates: Double
        public var malformed: Double
        /// Deletes of a conversation that was routed before.
        public var deletes: Double

        public init(duplicates: Double = 0, malformed: Double = 0, deletes: Double = 0) {
            self.duplicates = duplicates
            self.malformed = malformed
            self.deletes = deletes
        }
    }

    /// What a command was made as.
    public enum Making: Sendable, Hashable {
        case route, delete, duplicate, malformed
    }

    private let orgs: [String]
    private let context: String?
    private let mix: Mix
    private var random: SeededGenerator
    private var earlier: [CommandSpec] = []
    private var conversations: [(org: String, conversation: String)] = []

    /// - Parameters:
    ///   - orgs: aliases or ids to spread the commands over; not empty.
    ///   - context: the AuthorizationContext to send, if any.
    public init(seed: UInt64, orgs: [String], context: String? = nil, mix: Mix = Mix()) {
        precondition(!orgs.isEmpty, "commands are for an org")
        self.orgs = orgs
        self.context = context
        self.mix = mix
        random = SeededGenerator(seed: seed)
    }

    /// The next command.
    public mutating func next() -> (CommandSpec, Making) {
        var draw = Double.random(in: 0..<1, using: &random)
        if draw < mix.duplicates, let again = earlier.randomElement(using: &random) { return (again, .duplicate) }
        draw -= mix.duplicates
        if draw >= 0 && draw < mix.malformed { return (malformed(), .malformed) }
        draw -= mix.malformed
        let spec: CommandSpec
        let making: Making
        if draw >= 0 && draw < mix.deletes, let (org, conversation) = conversations.randomElement(using: &random) {
            spec = delete(org, conversation)
            making = .delete
        } else {
            spec = route()
            making = .route
        }
        earlier.append(spec)
        return (spec, making)
    }

    // MARK: -

    private mutating func route() -> CommandSpec {
        let org = orgs.randomElement(using: &random)!
        let conversation = RequestID.random(using: &random).description
        conversations.append((org, conversation))
        let type = ["Initial", "Transfer", "Conference"].randomElement(using: &random)!
        let target =
            switch Int.random(in: 0..<4, using: &random) {
            case 0: ""
            case 1: #","routingInfo":{"queueId":"\#(salesforceID("00G"))"}"#
            case 2:
                #","routingInfo":{"flow":{"flowId":"\#(salesforceID("300"))","queueId":"\#(salesforceID("00G"))"}}"#
            default:
                #","routingInfo":{"flow":{"flowId":"\#(salesforceID("300"))","queueId":"\#(salesforceID("00G"))"},"#
                    + #""routingAttributes":{"language":"de","priority":"high"}}"#
            }
        let payload = #"{"conversationIdentifier":"\#(conversation)","routingType":"\#(type)"\#(target)}"#
        return spec("route", org, payload)
    }

    private mutating func delete(_ org: String, _ conversation: String) -> CommandSpec {
        let reason = ["", #","cancelReason":"Decline""#, #","cancelReason":"Unavailable""#].randomElement(
            using: &random)!
        return spec("delete", org, #"{"conversationIdentifier":"\#(conversation)"\#(reason)}"#)
    }

    private mutating func malformed() -> CommandSpec {
        var broken = route()
        switch Int.random(in: 0..<8, using: &random) {
        case 0: broken.message.body = []
        case 1: broken.message.body.removeLast()
        case 2: broken.message.body = [0x7B, 0x22, 0xFF, 0xFE, 0x22, 0x7D]
        case 3: broken.message.body = Array(#"{"routingType":"Initial"}"#.utf8)
        case 4: broken.message.properties.headers["RequestId"] = .string("not-a-uuid")
        case 5: broken.message.properties.headers["OrgId"] = .string("nobody")
        case 6:
            broken.message.properties.headers["Command"] = .string("reroute")
            broken.message.properties.type = nil
        default:
            broken.message.body = Array(
                #"{"conversationIdentifier":"c","routingType":"Initial","routingType":"Transfer"}"#.utf8)
        }
        return broken
    }

    private mutating func spec(_ kind: String, _ org: String, _ payload: String) -> CommandSpec {
        CommandSpec(
            kind: kind, requestID: RequestID.random(using: &random).description, org: org, context: context,
            payload: Array(payload.utf8))
    }

    private mutating func salesforceID(_ prefix: String) -> String {
        let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
        var id = prefix
        while id.utf8.count < 15 { id.append(digits.randomElement(using: &random)!) }
        return id
    }
}
