"""Words of the bundle twin: what shoppers say they are up to, and what the products are called.

`# domain` lines, then as in words_music: `= category | prompt phrases of the theme`, and per product type one line
`prompt phrases : title nouns : category leaf`.
"""

THEMES = """
# Electronics
= Camera & Photo | photography, taking pictures, capture the trip, photo shoot
steady shots, hands-free shooting, avoid shaky video : Tripod, Monopod, Gimbal, Ball Head : Supports
see farther, portraits, close-ups : Lens, Zoom, Prime 50mm, Macro Ring : Lenses
store my shots, more space for photos, backup : SD Card, Card Reader, CompactFlash, Memory Stick : Storage Media
carry my gear, protect the body, shoulder comfort : Sling Bag, Neck Strap, Hard Case, Lens Cap : Bags & Covers
= Computers & Accessories | build a pc, home office, work from home, new desktop
typing, input devices, desk ergonomics : Keyboard, Mouse, Trackball, Wrist Rest : Input
faster machine, upgrade parts, assemble it myself : Graphics Card, Motherboard, DDR3 Module, Power Supply : Components
internet at home, get online, better signal : Router, Range Extender, Ethernet Switch, Modem : Networking
keep files safe, extra space, move documents : Flash Drive, SSD, External Disk, Docking Bay : Drives
= Audio | listening, music lover, better sound, quiet commute
wear while walking, private listening, ears : Headphones, Earbuds, Headset, Ear Pads : Head Audio
fill the room, living room sound, bass : Soundbar, Bookshelf Speaker, Subwoofer, Receiver : Home Audio
record my voice, podcast, streaming : Condenser Microphone, Boom Arm, Pop Filter, Audio Interface : Recording
vinyl, old collection, analog evening : Turntable, Stylus, Phono Preamp, Record Brush : Record Players
= Tablets & Phones | stay connected, mobile life, gadgets on the go, screen time
cover it, drop safety, scratches : Folio, Bumper, Tempered Glass, Sleeve : Shields
low on juice, charge everywhere, power : Wall Charger, Power Bank, USB Cable, Adapter : Power
draw and write, notes by hand, creative : Stylus Pen, Digitizer, Drawing Glove, Nib Set : Drawing
in the vehicle, navigation, driving : Dashboard Mount, GPS Unit, Backup Camera, Lighter Plug : Vehicle
= Television & Video | movie night, home theater, binge watching, family room
hang it up, space saving, wall : Wall Bracket, Swivel Arm, Stand, Cable Raceway : Mounts
stream shows, smart tv, cut the cord : Media Player, HDMI Stick, Antenna, Set-Top Box : Players
control everything, lost the clicker, couch comfort : Remote, IR Repeater, Air Mouse, Battery Door : Controls
connect devices, plug it all, clear picture : HDMI Cable, Splitter, Optical Lead, RCA Converter : Cables
= Gaming & Security | protect the house, play all night, entertainment, safe at home
beat my friends, competitive play, esports : Gamepad, Racing Wheel, Arcade Stick, Thumb Grip : Controllers
watch the door, surveillance, who is there : Dome Camera, Video Recorder, Doorbell, Motion Sensor : Surveillance
radio contact, talk at a distance, group trips : Two-Way Radio, Scanner, Earpiece, Whip Aerial : Radios
measure and fix, repair bench, hobby electronics : Multimeter, Soldering Iron, Breadboard, Heat Shrink : Bench
# Clothing, Shoes & Jewelry
= Women's Clothing | new wardrobe, ladies outfit, dress up, girls night
cocktail evening, elegant, gala : Gown, Sheath Dress, Maxi, Bolero : Dresses
everyday basics, casual, layers : Tee, Tank, Cardigan, Tunic : Tops
under it all, lingerie, comfort beneath : Bra, Camisole, Hipster, Shapewear : Intimates
beach body, pool days, swimming : Bikini, Tankini, Cover-Up, Sarong : Swim
= Men's Clothing | gentleman, guy's closet, for my husband, dapper
office wear, interview, business meeting : Oxford Shirt, Blazer, Chinos, Necktie : Business
workout clothes, sweat, running gear : Compression Short, Jersey, Track Pant, Hoodie : Athletic
sleep and lounge, lazy day, underwear : Boxer, Robe, Pajama Pant, Undershirt : Sleepwear
rugged work, construction, outdoors job : Bib Overall, Flannel, Cargo Pant, Work Vest : Workwear
= Shoes | footwear, walk in comfort, feet, step out
rain and snow, winter feet, dry : Snow Boot, Galosh, Duck Boot, Shearling Bootie : Boots
summer feet, easy slip on, vacation walking : Flip Flop, Espadrille, Huarache, Thong Sandal : Sandals
party shoes, tall, elegant feet : Pump, Stiletto, Platform, Slingback : Heels
jogging, sporty, marathon : Trail Runner, Cross Trainer, Cleat, Insole : Sneakers
= Jewelry & Watches | shine, accessories, anniversary, sparkle
engagement, propose, wedding : Solitaire, Band, Halo Ring, Cubic Zirconia Set : Rings
around the neck, keepsake, pendant gift : Locket, Choker, Chain, Birthstone Drop : Necklaces
on time, wrist, collector : Chronograph, Diver, Mesh Strap, Quartz Dial : Watches
pierced, earlobes, dangling : Hoop, Stud, Huggie, Chandelier : Earrings
= Costumes & Kids | halloween, costume party, cosplay, dress the children
superhero, comic con, hero : Cape, Muscle Suit, Eye Mask, Gauntlet : Heroes
spooky, scary night, monster : Witch Hat, Vampire Fang, Skeleton Suit, Zombie Wig : Horror
school clothes, back to class, little ones : Polo, Jumper, Pleated Skirt, Legging : School
baby shower, newborn, infant : Onesie, Bib, Swaddle, Booties : Baby
= Luggage & Accessories | travel light, packing, airport, on the road
carry on, flights, weekend away : Spinner, Duffel, Garment Sleeve, Luggage Tag : Suitcases
hide from the sun, beach walk, shade : Aviator, Wayfarer, Straw Hat, Visor : Sun
cold days, freezing, keep warm : Beanie, Scarf, Mitten, Ear Warmer : Winter Wear
cash and cards, organised purse, everyday carry : Wallet, Clutch, Tote, Coin Pouch : Handbags
# Grocery & Gourmet Food
= Beverages | drinks, thirsty, something to sip, pantry liquids
wake up, morning energy, office brew : Espresso Beans, Dark Roast, K-Cup, Cold Brew : Coffee
calm evening, herbal, winter cup : Chamomile, Earl Grey, Rooibos, Oolong : Tea
sports hydration, after the gym, electrolytes : Coconut Water, Powder Stick, Sparkling Lime, Protein Shake : Sport
party mixing, cocktails, bar at home : Grenadine, Bitters, Margarita Mix, Tonic : Mixers
= Snacks | movie snacks, munchies, something to nibble, lunch box
crunchy and salty, chips, game day : Pretzel, Kettle Chip, Pita Crisp, Popcorn : Salty
on the trail, quick energy, hikers : Granola Bar, Trail Mix, Jerky, Fruit Leather : Bars
sweet tooth, candy jar, treats : Gummy Bear, Licorice, Caramel, Lollipop : Candy
healthy nibble, nuts, low carb : Almond, Pistachio, Cashew, Sunflower Kernel : Nuts
= Baking & Cooking | bake, homemade, from scratch, weekend kitchen
birthday cake, cookies, decorating : Sprinkle, Fondant, Vanilla Extract, Cocoa : Baking Decor
no wheat, celiac, allergy safe : Almond Flour, Xanthan Gum, Rice Flour, Tapioca Starch : Gluten Free
frying and dressing, healthy fats, salad : Olive Oil, Coconut Oil, Balsamic, Sesame Oil : Oils
bread, dough, breakfast pancakes : Yeast, Pancake Mix, Buttermilk Powder, Bread Flour : Mixes
= World Food | cuisine, exotic dinner, international, try new flavors
japanese, sushi at home, seaweed : Nori, Wasabi, Miso, Rice Vinegar : Japan
indian, spicy stew, vegetarian curry : Garam Masala, Basmati, Ghee, Lentil Dal : India
mexican, taco tuesday, hot : Tortilla, Salsa Verde, Chipotle, Refried Bean : Mexico
italian, pasta night, noodles : Penne, Marinara, Pesto, Arborio : Italy
= Breakfast | start the day, morning meal, kids before school, cereal bowl
fiber, warm bowl, heart healthy : Oatmeal, Muesli, Chia Seed, Bran : Hot Cereal
toast toppings, sandwich, sticky : Peanut Butter, Jam, Honey, Hazelnut Spread : Spreads
pour on top, waffles, sugary : Maple Syrup, Agave, Molasses, Cane Sugar : Sweeteners
crispy bowl, cartoons and milk, quick bowl : Corn Flake, Puffed Rice, Honey Ring, Wheat Square : Cold Cereal
= Pantry & Pets | stock up, emergency supply, easy meals, feeding everyone
camping meals, disaster kit, long shelf life : Freeze-Dried Stew, Canned Chili, Ration Pack, Bouillon : Emergency
season everything, grill rub, barbecue flavor : Paprika, Sea Salt, Steak Rub, Peppercorn : Spices
quick lunch, dorm food, microwave : Ramen Cup, Mac and Cheese, Instant Potato, Soup Bowl : Instant
reward the dog, happy cat, puppy training : Dental Chew, Salmon Bite, Kibble, Catnip Crunch : Pet Treats
"""

# One line per facet: prompt words : title adjectives : suffixes of a title
FACETS = """
cheap, on a budget, affordable : Basic, Value, Economy, Everyday : (Pack of 12), (2-Pack), Bulk
premium, best quality, high end : Deluxe, Pro, Signature, Reserve : Limited Edition, Elite, Black Label
for kids, children, family : Junior, Mini, Playful, Rainbow : Ages 3-8, Small, Cartoon Print
travel, on the go, portable : Compact, Pocket, Folding, Slim : Travel Size, with Pouch, Single Serve
gift, present, surprise : Classic, Assorted, Festive, Boxed : Gift Set, Sampler, Gift Box
natural, eco friendly, organic : Organic, Bamboo, Pure, Green : BPA Free, Non-GMO, Unbleached
"""

BRAND_STARTS = (
    "Al, Bel, Cor, Dyn, Ev, Fen, Gal, Hal, Ion, Jor, Kel, Lum, Mar, Nor, Or, Pel, Quan, Riv, Sol, Tor, Ul, Ver, Zen"
)
BRAND_ENDS = (
    "dale, tek, ora, wick, mont, ix, field, ano, stone, via, mark, etta, haus, well, con, ridge, ella, brook, max"
)
# One line per domain
VARIANTS = """
Black, White, Silver, Grey, Red, Blue, Matte Black, Gunmetal, Graphite
Black, White, Navy, Burgundy, Charcoal, Ivory, Teal, Rose, Heather Grey, Brown, Olive
Original, Lightly Salted, Unsweetened, Honey, Extra Bold, Mild, Smoky, Lemon, Roasted, Spicy
"""
SIZES = """
10-Inch, 3 Feet, 6 Feet, 32GB, 24V, 1080p, 12-Inch, 5-Port, 2.4GHz, 15.6-Inch
Medium, Large, XL, Size 9, One Size, Small, X-Large, Size 7.5, 32x34, Plus Size
8-Ounce, 16-Ounce, 24-Count, 1.5-Pound, 12-Ounce, 6-Count, 3.5-Ounce, 2-Liter, 100-Count
"""
HEADS = "new, some, good, different, looking for, different kinds of, shopping for, i need, all about, a set of"
TAILS = "items, stuff, things, accessories, products, set, kit, essentials, supplies, collection"
